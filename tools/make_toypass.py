#!/usr/bin/env python3
"""Make ToyPASS: labelled street scenes of a pinhole camera (source) and panoramas of the same world (target).

    tools/make_toypass.py --out data/ToyPASS --preset demo --workers 8

The code is in tools/commands/make_toypass.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.make_toypass')
