"""The start of every command: settings that PyTorch reads when it is imported, then the command's own module.

A script in ``tools/`` names the module that holds its code, and so does each console command::

    from stage1_sam_cache.commands.entry import run

    if __name__ == '__main__':
        run('stage2_distill.commands.train')

A script that keeps its code to itself does as ``prepare`` before its imports and calls ``cli.run_command(main)`` at its
end.
Importing this module changes nothing.
"""

from __future__ import annotations

import os
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

_CHECKOUT = Path(__file__).resolve().parent.parent.parent


def prepare() -> None:
    """Let OpenMP's threads sleep while they wait, unless ``OMP_WAIT_POLICY`` is set; call it before PyTorch's import.

    Threads that spin instead take the time of other processes: beside four of them a training step took 23 s, not 0.9.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')


def run(module: str) -> NoReturn:
    """Run the ``main`` of a module as a command and exit with its status.

    Args:
        module: Full name of the module; ``main()`` takes its arguments from ``sys.argv`` and returns the exit status.

    Raises:
        SystemExit: Always. A missing package and a user error are one line on standard error.
    """
    prepare()
    from stage1_sam_cache.commands import cli

    def import_and_run() -> int:
        try:
            command = import_module(module)
        except ModuleNotFoundError as missing:
            cli.report(f'error: {missing}; {how_to_install()}')
            return cli.FAILED
        return command.main()

    cli.run_command(import_and_run)


def how_to_install() -> str:
    """Return what to do when a package is missing."""
    if (_CHECKOUT / 'Makefile').is_file():
        return 'run `make venv` and `source .venv/bin/activate` first'
    return 'run `pip install` with the wheel or the checkout of GoodSAM again, which brings all that it needs'


# What [project.scripts] in pyproject.toml calls.
cache = partial(run, 'stage1_sam_cache.commands.cache_sam')
inspect = partial(run, 'stage1_sam_cache.commands.inspect_cache')
browse_dataset = partial(run, 'stage1_sam_cache.commands.browse_dataset')
train = partial(run, 'stage2_distill.commands.train')
test = partial(run, 'stage2_distill.commands.test')
predict = partial(run, 'stage2_distill.commands.predict')
export = partial(run, 'stage2_distill.commands.export_student')
browse_labels = partial(run, 'stage2_distill.commands.browse_pseudo_labels')
judge = partial(run, 'stage2_distill.commands.judge_unlabelled')
check_paper = partial(run, 'stage2_distill.commands.check_paper')
