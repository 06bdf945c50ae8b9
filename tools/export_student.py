#!/usr/bin/env python3
"""Export the student of a training run: safetensors + config + digest, and ONNX.

    tools/export_student.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/iter_40000.pth --out student.safetensors

The code is in stage2_distill/commands/export_student.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.export_student')
