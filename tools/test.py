#!/usr/bin/env python3
"""Score a checkpoint by mIoU: student, teacher assistant and ensemble of GoodSAM, or any other network.

    tools/test.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth
    tools/test.py mmseg_configs/goodsam_b0.py best.pth --cache cache/densepass_val       # the ensemble too

The code is in stage2_distill/commands/test.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.test')
