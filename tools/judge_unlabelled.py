#!/usr/bin/env python3
"""Judge assistant, ensemble labels and student on panoramas without labels.

    tools/judge_unlabelled.py CONFIG CHECKPOINT --images unseen_panoramas --cache cache/unseen_panoramas

The code is in stage2_distill/commands/judge_unlabelled.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.judge_unlabelled')
