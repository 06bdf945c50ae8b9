"""The start of every command: settings that PyTorch reads when it is imported, then the command's own module.

A script in ``tools/`` names the module that holds its code, and so does each console command::

    from stage1_sam_cache.commands.entry import run

    if __name__ == '__main__':
        run('stage2_distill.commands.train')

Importing this module changes nothing and needs no other package.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from typing import NoReturn

from stage1_sam_cache.commands.installation import how_to_install


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
        SystemExit: Always. A missing package, a user error and Ctrl-C are one line on standard error.
    """
    prepare()
    try:
        from stage1_sam_cache.commands import cli
    except ModuleNotFoundError as missing:
        sys.exit(f'error: {missing}; {how_to_install()}')
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(130)
    cli.run_command(lambda: import_module(module).main())


# What [project.scripts] in pyproject.toml calls.
cache = partial(run, 'stage1_sam_cache.commands.cache_sam')
inspect = partial(run, 'stage1_sam_cache.commands.inspect_cache')
browse_dataset = partial(run, 'stage1_sam_cache.commands.browse_dataset')
level = partial(run, 'stage1_sam_cache.commands.level_panoramas')
adapt = partial(run, 'stage2_distill.commands.adapt_sam')
train = partial(run, 'stage2_distill.commands.train')
test = partial(run, 'stage2_distill.commands.test')
predict = partial(run, 'stage2_distill.commands.predict')
export = partial(run, 'stage2_distill.commands.export_student')
browse_labels = partial(run, 'stage2_distill.commands.browse_pseudo_labels')
export_labels = partial(run, 'stage2_distill.commands.export_labels')
report = partial(run, 'stage2_distill.commands.report')
judge = partial(run, 'stage2_distill.commands.judge_unlabelled')
check_paper = partial(run, 'stage2_distill.commands.check_paper')
convert = partial(run, 'stage2_distill.commands.convert_weights')
