"""The names of the commands: ``tools/<name>.py`` in a checkout, ``goodsam-<name>`` where the package is installed.

Code, errors and documents name commands as ``tools/<name>.py``; what is printed has the name that the user can type.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# The same as [project.scripts] in pyproject.toml. The other tools belong to the demo and exist in a checkout only.
CONSOLE_COMMANDS = {
    'tools/cache_sam.py': 'goodsam-cache',
    'tools/inspect_cache.py': 'goodsam-inspect',
    'tools/browse_dataset.py': 'goodsam-browse-dataset',
    'tools/level_panoramas.py': 'goodsam-level',
    'tools/adapt_sam.py': 'goodsam-adapt',
    'tools/train.py': 'goodsam-train',
    'tools/test.py': 'goodsam-test',
    'tools/predict.py': 'goodsam-predict',
    'tools/export_student.py': 'goodsam-export',
    'tools/browse_pseudo_labels.py': 'goodsam-browse-labels',
    'tools/export_labels.py': 'goodsam-export-labels',
    'tools/report.py': 'goodsam-report',
    'tools/judge_unlabelled.py': 'goodsam-judge',
    'tools/check_paper.py': 'goodsam-check-paper',
    'tools/convert_weights.py': 'goodsam-convert',
}
_TOOL = re.compile(r'(?<![\w./-])tools/\w+\.py\b')


def is_console_command() -> bool:
    """Return whether this program was started as one of the console commands."""
    return Path(sys.argv[0]).name.removesuffix('.exe') in CONSOLE_COMMANDS.values()


def as_typed(text: str) -> str:
    """Return a text in which commands have the names under which the user has them.

    Args:
        text: Any message; commands in it are written ``tools/<name>.py``.

    Returns:
        The text itself, or, in a console command, with the console command in place of each tool that has one.
    """
    if not is_console_command():
        return text
    return _TOOL.sub(lambda tool: CONSOLE_COMMANDS.get(tool[0], tool[0]), text)
