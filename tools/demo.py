#!/usr/bin/env python3
"""The demo: the whole method on ToyPASS, from nothing to a table and pictures; a quarter of an hour on two CPU cores.

    tools/demo.py --out demo
    tools/demo.py --out demo --masks felzenszwalb                # masks of a method that needs no weights, faster
    tools/demo.py --out demo_large --preset demo --iterations 600

The code is in tools/commands/demo.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.demo')
