#!/usr/bin/env python3
"""Look into mask caches: status, verify, repair, stats, quality, show, export.

    tools/inspect_cache.py status cache/densepass
    tools/inspect_cache.py verify cache/densepass --full
    tools/inspect_cache.py show cache/real --images my_panoramas --id street_7 --out street_7.png

The code is in stage1_sam_cache/commands/inspect_cache.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage1_sam_cache.commands.inspect_cache')
