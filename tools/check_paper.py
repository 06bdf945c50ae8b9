#!/usr/bin/env python3
"""Measure what the paper reports without training, beside the paper's figures.

    tools/check_paper.py                                        # DensePASS, everything
    tools/check_paper.py --rows params whole tile               # needs no masks

The code is in stage2_distill/commands/check_paper.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.check_paper')
