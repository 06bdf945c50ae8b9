#!/usr/bin/env bash
# Training on the GPUs of one machine, or of several with the usual variables of torchrun:
#
#   tools/dist_train.sh CONFIG GPUS [flags of train.py]
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh CONFIG GPUS
set -eu
if [ $# -lt 2 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
config=$1
gpus=$2
shift 2
# Without an address of a first node, torchrun finds a free port by itself.
if [ -n "${MASTER_ADDR:-}" ]; then
    where="--nnodes ${NNODES:-1} --node-rank ${NODE_RANK:-0} --master-addr $MASTER_ADDR --master-port ${MASTER_PORT:-29500}"
else
    where="--standalone"
fi
# shellcheck disable=SC2086
exec torchrun $where --nproc-per-node "$gpus" "$(dirname "$0")/train.py" "$config" "$@"
