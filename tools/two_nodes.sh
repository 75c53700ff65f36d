#!/usr/bin/env bash
# Trains one model on two machines. Call it on both, with the first one's address:
#     tools/two_nodes.sh 0 10.0.0.1 teacher --shard --resume
#     tools/two_nodes.sh 1 10.0.0.1 teacher --shard --resume
# Both need the same clone, the same data below runs/, and with --shard a folder of runs that both
# see. GPUS: processes on each of them.
set -euo pipefail
if [ "$#" -lt 3 ]; then
    echo "usage: GPUS=8 $0 NODE ADDRESS STAGE [options of train]" >&2
    exit 2
fi
node=$1 address=$2
shift 2
exec torchrun --nnodes 2 --node-rank "$node" --nproc-per-node "${GPUS:-8}" \
    --master-addr "$address" --master-port "${PORT:-29500}" -m livetalk_ref train "$@"
