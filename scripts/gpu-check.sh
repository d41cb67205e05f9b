#!/usr/bin/env bash
# One command for a machine with a GPU: builds with CUDA, compares what it computes with numbers of the CPU, times it, and writes
# a JSON of all that. It needs the crates and a CUDA toolkit (nvcc), Python 3, and no other network.
#
#     scripts/gpu-check.sh [--device cuda:0] [--out gpu-check.json]     on a GPU
#     scripts/gpu-check.sh --device cpu                                 the same without one, as a test of the check
#     scripts/gpu-check.sh --features cuda,nccl ...                     with NCCL (and MPI), one process for each GPU
#     scripts/gpu-check.sh --binary PATH ...                            with a program that is built already
set -euo pipefail
here=$PWD device=cuda:0 binary='' built=cuda passed=()

# A path as seen from where this was called.
from_here() { [[ $1 == /* ]] && printf '%s' "$1" || printf '%s' "$here/$1"; }

while (($#)); do
    word=$1
    shift
    case "$word" in
        --device | --binary | --out | --features)
            (($#)) || { echo "$word takes a value" >&2; exit 2; }
            value=$1
            shift
            ;;
        --device=* | --binary=* | --out=* | --features=*) value=${word#*=} word=${word%%=*} ;;
        *) passed+=("$word"); continue ;;
    esac
    case "$word" in
        --features) built=$value ;;
        --device) device=$value ;;
        --binary) binary=$(from_here "$value") ;;
        --out) passed+=(--out "$(from_here "$value")") ;;
    esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -z $binary ]]; then
    features=()
    [[ $device == cpu ]] || features=(--features "$built")
    target=$(from_here "${CARGO_TARGET_DIR:-$PWD/target}")
    CARGO_TARGET_DIR=$target cargo build --release --locked "${features[@]}" >&2
    binary=$target/release/hybrid-dpo
    # All GPUs of this machine, without MPI: even one joins and sums.
    [[ $device == cpu || $built != *nccl* ]] ||
        CARGO_TARGET_DIR=$target cargo test --release --locked -p engine --features nccl --lib -- --ignored gpus_sum >&2
fi
exec python3 scripts/gpu_check.py --device "$device" --binary "$binary" "${passed[@]}"
