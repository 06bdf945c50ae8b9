#!/usr/bin/env bash
# Training on one node of a SLURM cluster; every argument goes to train.py:
#
#   sbatch --gres=gpu:4 tools/slurm_train.sh mmseg_configs/goodsam_b0.py --cfg-options train_dataloader.batch_size=1
#
# --resume-or-start is added, so a job that is pre-empted goes on where it was when it is requeued.
#SBATCH --job-name=goodsam-train
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=48:00:00
#SBATCH --requeue
#SBATCH --output=slurm-%x-%j.out
set -eu
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
if [ -f .venv/bin/activate ]; then
    . .venv/bin/activate
fi
config=$1
shift
exec tools/dist_train.sh "$config" "${SLURM_GPUS_ON_NODE:-1}" --resume-or-start "$@"
