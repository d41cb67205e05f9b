#!/usr/bin/env bash
# Makes recipes/embedded/tldr/model.safetensors: a model of 0.9M parameters, trained on the demonstrations of builtin:tldr
# (two good summaries in five, on purpose). About six minutes on two idle cores.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/embedded}
cargo run --release -- train --mdp token --model builtin:tldr-untrained --data builtin:tldr-demonstrations \
    --limit 48000 --objective sft --optimizer adamw --weight-decay 0.01 --lr 3e-3 --warmup-steps 150 \
    --schedule cosine --max-grad-norm 20 --batch-size 16 --micro-batch-size 16 --max-length 256 \
    --max-prompt-length 192 --eval-every 500 --out "$out"
cp "$out/model/model.safetensors" recipes/embedded/tldr/model.safetensors
