#!/usr/bin/env bash
# One command for a machine with a GPU: builds with CUDA, compares what it computes with numbers of the CPU, times it, and writes
# a JSON of all that. It needs the crates and a CUDA toolkit (nvcc), Python 3, and no other network.
#
#     scripts/gpu-check.sh [--device cuda:0] [--out gpu-check.json]     on a GPU
#     scripts/gpu-check.sh --device cpu                                 the same without one, as a test of the check
#     scripts/gpu-check.sh --features cuda,nccl ...                     with NCCL (and MPI), one process for each GPU
#     scripts/gpu-check.sh --binary PATH ...                            with a program that is built already
set -euo pipefail
cd "$(dirname "$0")/.."
device=cuda:0 binary= built=cuda kept=()
while (($#)); do
    case "$1" in
        --features) built=$2 && shift 2 && continue ;;
        --device) device=$2 ;;
        --binary) binary=$2 ;;
    esac
    kept+=("$1")
    shift
done
if [[ -z $binary ]]; then
    features=()
    [[ $device == cpu ]] || features=(--features "$built")
    cargo build --release --locked "${features[@]}" >&2
    kept+=(--binary "${CARGO_TARGET_DIR:-target}/release/hybrid-dpo")
    # All GPUs of this machine, without MPI: even one joins and sums.
    [[ $device == cpu || $built != *nccl* ]] ||
        cargo test --release --locked -p engine --features nccl --lib -- --ignored gpus_sum >&2
fi
exec python3 scripts/gpu_check.py "${kept[@]}"
