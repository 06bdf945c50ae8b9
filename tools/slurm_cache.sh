#!/usr/bin/env bash
# Stage 1 on a SLURM cluster, one GPU a task; every argument goes to cache_sam.py:
#
#   tools/cache_sam.py --dataset densepass --dry-run        # once, where there is a network: fetches the weights
#   sbatch --array=0-7 tools/slurm_cache.sh --dataset densepass
#
# Each task takes its part of the list by itself. A task that is pre-empted goes on where it was when it is requeued.
#SBATCH --job-name=goodsam-cache
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output=slurm-%x-%A_%a.out
set -eu
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
if [ -f .venv/bin/activate ]; then
    . .venv/bin/activate
fi
exec python tools/cache_sam.py "$@"
