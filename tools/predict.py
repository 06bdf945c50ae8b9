#!/usr/bin/env python3
"""Label panoramas with a student: label PNGs of class ids, and overlays.

    tools/predict.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth --images my_panoramas

The code is in stage2_distill/commands/predict.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.predict')
