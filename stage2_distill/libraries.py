"""MMSegmentation, without the lines that it and its libraries print in every run."""

from __future__ import annotations

import io
import sys
import warnings
from contextlib import redirect_stdout
from importlib import import_module

# What they print each time: parts that nothing here uses can't be imported, and defaults are as they are meant to be.
_PRINTED = 'Could not import OneDL'
_WARNED = (
    'Fail to import ``MultiScaleDeformableAttention``',
    'The draw is False',  # of the hook that draws predictions, unless --show-dir
    "'pin_memory' argument is set as true but no accelerator is found",
    'Default ``avg_non_ignore`` is False',  # as in the published recipes
)


def import_libraries() -> None:
    """Import MMSegmentation; every command of stage 2 does it first, after it has read its arguments.

    Only the messages above are dropped, these warnings for the whole process. What else is printed meanwhile goes to
    standard error, since standard output belongs to a command's answer.
    """
    for message in _WARNED:
        warnings.filterwarnings('ignore', message=message)
    with redirect_stdout(io.StringIO()) as printed:
        import_module('mmseg.datasets')
        import_module('mmcv.cnn.bricks.transformer')
    for line in printed.getvalue().splitlines():
        if line != _PRINTED:
            sys.stderr.write(f'{line}\n')
