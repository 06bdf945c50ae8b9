"""The process of ``WarmTools``, which here has imported all of stage 2 before it forks for a tool.

A tool ends as ever, but without the second in which Python takes apart all that was imported.
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import sys
from pathlib import Path

import mmseg.apis  # noqa: F401
import safetensors.torch  # noqa: F401
import segment_anything  # noqa: F401

import stage2_distill.components
import stage2_distill.deployment.student  # noqa: F401

gc.freeze()
try:
    runpy.run_path(str(Path(__file__).parents[1] / 'warm_tools.py'), run_name='__main__')
except SystemExit as end:
    if not isinstance(end.code, int):
        raise
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code)
