#!/usr/bin/env python3
"""Train by a config: GoodSAM against a mask cache, or the SegFormers on pinhole images that it starts from.

    tools/train.py mmseg_configs/goodsam_b0.py
    tools/train.py mmseg_configs/goodsam_b0.py --resume             # continues from the latest checkpoint
    tools/dist_train.sh mmseg_configs/goodsam_b0.py 4               # on four GPUs

The code is in stage2_distill/commands/train.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.train')
