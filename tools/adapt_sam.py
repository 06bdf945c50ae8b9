#!/usr/bin/env python3
"""Adapt SAM's image encoder to panoramas, for `tools/cache_sam.py --adapter`.

    tools/adapt_sam.py --dataset densepass --prompts cache/densepass

The code is in stage2_distill/commands/adapt_sam.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.adapt_sam')
