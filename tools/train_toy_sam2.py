#!/usr/bin/env python3
"""Train a toy SAM 2 on ToyPASS's pinhole images, for `mmseg_configs/omnisam/source_toypass.py`.

    tools/train_toy_sam2.py --data data/ToyPASS
    tools/train_toy_sam2.py --data data/ToyPASS --resume     # continues where it was interrupted

The code is in tools/commands/train_toy_sam2.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.train_toy_sam2')
