#!/usr/bin/env python3
"""Cache connected components of label PNGs as masks, which place the prompts when SAM is adapted.

    tools/cache_components.py --dataset toypass --labels predictions/labels --window 200x256 --stride 128 --out cache/c
    tools/cache_components.py --images my_panoramas --labels labels --things-only --keep cache/sam --out cache/things

The code is in tools/commands/cache_components.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.cache_components')
