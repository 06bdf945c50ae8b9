#!/usr/bin/env python3
"""Measure each fast path against a plain reference, both in the same run.

    tools/benchmark.py all --json benchmark.json
    tools/benchmark.py stage1 --model vit_b --points 16     # mask generation: stock, exact, fp32-fast, bf16
    tools/benchmark.py step --full                          # a training step at 400x2048
    tools/benchmark.py cache --cache cache/densepass        # with this cache's masks

The code is in tools/commands/benchmark.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.benchmark')
