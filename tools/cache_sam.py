#!/usr/bin/env python3
"""Stage 1: run SAM once over every window of every panorama and cache its masks.

    tools/cache_sam.py --dataset densepass                          # on one GPU
    torchrun --nproc-per-node 4 tools/cache_sam.py --dataset densepass
    sbatch --array=0-7 tools/slurm_cache.sh --dataset densepass     # any number of nodes
    tools/cache_sam.py --images my_panoramas --generator felzenszwalb   # no weights needed, not SAM

The code is in stage1_sam_cache/commands/cache_sam.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage1_sam_cache.commands.cache_sam')
