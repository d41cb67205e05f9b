#!/usr/bin/env bash
# One command for a machine with a GPU: builds with CUDA, compares what it computes with numbers of the CPU, times it, and writes
# a JSON of all that. It needs the crates and a CUDA toolkit (nvcc), Python 3, and no other network.
#
#     scripts/gpu-check.sh [--device cuda:0] [--out gpu-check.json]     on a GPU
#     scripts/gpu-check.sh --device cpu                                 the same without one, as a test of the check
#     scripts/gpu-check.sh --binary PATH ...                            with a program that is built already
set -euo pipefail
cd "$(dirname "$0")/.."
device=cuda:0 binary=
for ((i = 1; i <= $#; i++)); do
    next=$((i + 1))
    case "${!i}" in
        --device) device=${!next} ;;
        --binary) binary=${!next} ;;
    esac
done
if [[ -z $binary ]]; then
    features=()
    [[ $device == cpu ]] || features=(--features cuda)
    cargo build --release --locked "${features[@]}" >&2
    set -- "$@" --binary "${CARGO_TARGET_DIR:-target}/release/hybrid-dpo"
fi
exec python3 scripts/gpu_check.py "$@"
