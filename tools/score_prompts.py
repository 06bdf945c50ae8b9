#!/usr/bin/env python3
"""Score SAM's answers to prompts on windows with known masks, with and without adapters.

    tools/score_prompts.py cache/truth_val --dataset toypass --split val --sam toy --adapter work_dirs/*/*.safetensors

The code is in tools/commands/score_prompts.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('commands.score_prompts')
