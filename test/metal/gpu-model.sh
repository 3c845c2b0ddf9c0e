#!/bin/sh
# A whole model on a GPU through the Metal host code: generated here from a seed (18 GB for 40 layers), then read and answered with
# all of its experts in memory and with a half, a quarter and an eighth of them. Each part is written to OUT as it is done.
# Usage: gpu-model.sh OUT [SECONDS [LAYERS]], from test/metal; with fewer layers a smaller disk is enough.
out=${1:?where to write}
left=${2:-420}
layers=${3:-40}
model=${FLASHMOE_GPU_MODEL:-build/gpu/generated-$layers}
. ./gpu-parts.sh

part generate 120 build/metal-generate "$model" "$layers" 1
# metal-speed: per cent in memory, tokens of a pass, of the prompt, decoded.
part resident-pass-8192 120 build/cuda/metal-speed ../../metal "$model" 100 8192 8192 128
part resident-pass-1024 60 build/cuda/metal-speed ../../metal "$model" 100 1024 8192 0
for share in 50 25 12.5; do
  part "cached-$share" 90 build/cuda/metal-speed ../../metal "$model" "$share" 1024 1024 64
done
part cached-25-pass-8192 60 build/cuda/metal-speed ../../metal "$model" 25 8192 8192 0
part kernels 90 build/cuda/metal-speed ../../metal "$model" 100 8192 8192 16 kernels
cat "$out"/kernels.txt "$out"/resident-*.txt "$out"/cached-*.txt "$out/summary.txt"
