#!/usr/bin/env python3
"""Cache ToyPASS's true instances as masks, for the upper bound in the tables; nothing else trains on them.

    tools/cache_truth.py --split train --out cache/truth
    tools/cache_truth.py --split val --kinds instances parts --out cache/truth_val
    tools/cache_truth.py --split val --merge 0.3 --erode 2 --out cache/simulated_val
    tools/cache_truth.py --domain source --split val --out cache/source_truth

The code is in tools/commands/cache_truth.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.cache_truth')
