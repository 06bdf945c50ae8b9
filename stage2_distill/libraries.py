"""MMSegmentation, imported without the lines that it and MMCV print meanwhile."""

from __future__ import annotations

import io
import sys
import warnings
from contextlib import redirect_stdout
from importlib import import_module

# What they print each time: a data set format and an operator that nothing here uses can't be imported.
_PRINTED = 'Could not import OneDL'
_WARNED = 'Fail to import ``MultiScaleDeformableAttention``'


def import_libraries() -> None:
    """Import MMSegmentation; every command of stage 2 does it first, after it has read its arguments.

    Only the two messages above are dropped. What else is printed goes to standard error, since standard output
    belongs to a command's answer.
    """
    with redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
        warnings.filterwarnings('ignore', message=_WARNED)
        import_module('mmseg.datasets')
        import_module('mmcv.cnn.bricks.transformer')
    for line in printed.getvalue().splitlines():
        if line != _PRINTED:
            sys.stderr.write(f'{line}\n')
