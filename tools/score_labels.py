#!/usr/bin/env python3
"""Score the pseudo-labels of an adaptation's rounds against the truth of ToyPASS.

    tools/score_labels.py work_dirs/adapt_toypass

The code is in tools/commands/score_labels.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.score_labels')
