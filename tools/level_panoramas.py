#!/usr/bin/env python3
"""Write level copies of panoramas whose metadata say that the camera was tilted.

    tools/level_panoramas.py --images my_panoramas --out level_panoramas

The code is in stage1_sam_cache/commands/level_panoramas.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage1_sam_cache.commands.level_panoramas')
