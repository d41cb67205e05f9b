#!/usr/bin/env bash
# Makes recipes/embedded/shapes: a denoiser of 1.0M parameters, trained on the demonstrations of builtin:shapes, whose captions
# are wrong about most things now and then, on purpose. About ten minutes on two idle cores.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/embedded-shapes}
cargo run --release -p datasets --example embedded_models -- shapes recipes/embedded/shapes
cargo run --release -- train --mdp diffusion --model builtin:shapes-untrained --data builtin:shapes-demonstrations \
    --limit 16384 --epochs 4 --objective sft --optimizer adamw --weight-decay 0.01 --lr 2e-3 --warmup-steps 100 \
    --schedule cosine --max-grad-norm 1 --batch-size 16 --micro-batch-size 16 --draw-sets 1000 --empty-share 0.1 \
    --ema 0.995 --save-dtype f16 --eval-every 1024 --eval-examples 128 --out "$out"
cp "$out/model/unet/diffusion_pytorch_model.safetensors" recipes/embedded/shapes/unet/
