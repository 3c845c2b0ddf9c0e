#!/bin/sh
# All that a GPU can tell, part by part, each written to OUT as it is done: correctness of every kernel and of four
# models, bandwidth, then compute-sanitizer. Usage: gpu.sh OUT [SECONDS], from test/metal. The programs are those of
# `make cuda`, made here when they are missing or do not start; models are those of gpu-files.mjs.
out=${1:?where to write}
left=${2:-150}
. ./gpu-parts.sh
part check 40 build/cuda/metal-check ../../metal all
for model in qwen3_5_moe qwen3_moe deepseek_v3 kimi_k2; do
  for piece in 64 1; do
    part "model-$model-$piece" 15 build/cuda/metal-model ../../metal "build/gpu/$model" \
      "build/gpu/$model/packed_experts" "$out/$model.f32" "$piece" forward resident
    rm -f "$out/$model.f32"
  done
done
part bandwidth 60 build/cuda/metal-bench ../../metal
for tool in racecheck memcheck initcheck synccheck; do
  part "$tool" 40 compute-sanitizer --tool "$tool" --error-exitcode 9 build/cuda/metal-check ../../metal forward 7
done
cat "$out/summary.txt"
