#!/usr/bin/env python3
"""Draw images of a data set with their labels and a legend in one picture.

    tools/browse_dataset.py --dataset toypass --split val --out look.png

The code is in stage1_sam_cache/commands/browse_dataset.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage1_sam_cache.commands.browse_dataset')
