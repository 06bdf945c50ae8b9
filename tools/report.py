#!/usr/bin/env python3
"""Write one HTML page of a training run: curves, scores, panoramas to look around in.

    tools/report.py work_dirs/goodsam_b0

The code is in stage2_distill/commands/report.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.report')
