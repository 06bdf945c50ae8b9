#!/usr/bin/env python3
"""Train a toy SAM on the instances of ToyPASS's pinhole images, for `tools/cache_sam.py --sam toy`.

    tools/train_toy_sam.py --data data/ToyPASS --amp                 # at least 0.6 s per iteration on two CPU cores
    tools/train_toy_sam.py --data data/ToyPASS --amp --resume        # resumes from the last checkpoint
    tools/train_toy_sam.py --data data/ToyPASS --overfit 10 --iterations 300 --work-dir work_dirs/ten

The code is in tools/commands/train_toy_sam.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.train_toy_sam')
