#!/usr/bin/env bash
# Makes recipes/embedded/chimera: a refiner of 0.4M parameters and a generator of 0.9M, both trained on demonstrations of
# builtin:chimera, which are wrong about things now and then, on purpose. About fifteen minutes on two idle cores.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/embedded-chimera}
for half in refiner generator; do
    cargo run --release -p datasets --example embedded_models -- "chimera-$half" "recipes/embedded/chimera/$half"
done
cargo run --release -- train --mdp token --model builtin:chimera-refiner-untrained \
    --data builtin:chimera-refiner-demonstrations --limit 32000 --objective sft --optimizer adamw --weight-decay 0.01 \
    --lr 3e-3 --warmup-steps 100 --schedule cosine --max-grad-norm 20 --batch-size 16 --micro-batch-size 16 \
    --max-length 96 --max-prompt-length 48 --eval-every 500 --n-samples 4 --out "$out/refiner"
cp "$out/refiner/model/model.safetensors" recipes/embedded/chimera/refiner/
cargo run --release -- train --mdp diffusion --model builtin:chimera-generator-untrained \
    --data builtin:chimera-generator-demonstrations --limit 16384 --epochs 4 --objective sft --optimizer adamw \
    --weight-decay 0.01 --lr 2e-3 --warmup-steps 100 --schedule cosine --max-grad-norm 1 --batch-size 16 \
    --micro-batch-size 16 --draw-sets 1000 --empty-share 0.1 --ema 0.995 --save-dtype f16 --eval-every 1024 \
    --eval-examples 128 --out "$out/generator"
cp "$out/generator/model/unet/diffusion_pytorch_model.safetensors" recipes/embedded/chimera/generator/unet/
