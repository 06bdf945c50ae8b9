#!/usr/bin/env python3
"""Convert a SegFormer between Hugging Face, NVIDIA's own files and MMSegmentation.

    tools/convert_weights.py hf:nvidia/segformer-b3-finetuned-cityscapes-1024-1024 segformer_b3.safetensors
    tools/convert_weights.py work_dirs/goodsam_b0_nvidia/iter_40000.pth student_for_transformers

The code is in stage2_distill/commands/convert_weights.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.convert_weights')
