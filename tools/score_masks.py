#!/usr/bin/env python3
"""Score the masks of a cache against the instances of ToyPASS.

    tools/score_masks.py cache/toypass_val cache/toypass_val_sam --split val
    tools/score_masks.py cache/source_val --domain source --split val --json masks.json
    tools/score_masks.py cache/toypass_val --config goodsam_b0_toypass.py    # and the ensembles they give

The code is in tools/commands/score_masks.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.score_masks')
