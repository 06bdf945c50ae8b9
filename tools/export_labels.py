#!/usr/bin/env python3
"""Write the ensemble labels and weight maps of the training panoramas as a data set.

    tools/export_labels.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/iter_40000.pth --out labels_for_mmseg

The code is in stage2_distill/commands/export_labels.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.export_labels')
