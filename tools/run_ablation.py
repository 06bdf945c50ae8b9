#!/usr/bin/env python3
"""Run one of the ablation tables on ToyPASS and writes it as Markdown and as a plot.

    tools/run_ablation.py table5                       # fusions, without training: minutes
    tools/run_ablation.py table3 --seeds 0 1 2         # about five minutes on two CPU cores per trained row and seed
    tools/run_ablation.py controls --rows 'eq 4' oracle --masks truth
    tools/run_ablation.py mask_quality --untrained     # how good must masks be? Damaged true masks and their ensembles

The code is in tools/commands/run_ablation.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.run_ablation')
