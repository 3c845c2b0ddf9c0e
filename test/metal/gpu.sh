#!/bin/sh
# All that a GPU can tell, part by part, each written to OUT as it is done: correctness of every kernel and of four
# models, bandwidth, then compute-sanitizer. Usage: gpu.sh OUT [SECONDS], from test/metal. The programs are those of
# `make cuda`, made here when they are missing or do not start; models are those of gpu-files.mjs.
out=${1:?where to write}
left=${2:-150}
begun=$(date +%s)
mkdir -p "$out"

# part NAME SECONDS COMMAND...: never more than is left.
part() {
  name=$1 limit=$2
  shift 2
  rest=$((left - $(date +%s) + begun))
  [ "$rest" -gt 0 ] || { echo "$name: no time left" | tee -a "$out/summary.txt"; return; }
  [ "$limit" -lt "$rest" ] || limit=$rest
  start=$(date +%s)
  timeout "$limit" "$@" >"$out/$name.txt" 2>&1
  echo "$name: status $?, $(($(date +%s) - start)) s" | tee -a "$out/summary.txt"
}

nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv,noheader >"$out/gpu.txt" 2>&1
build/cuda/metal-check >/dev/null 2>&1
# Without arguments it says how it is used; any other status means that it does not run here.
[ $? -eq 64 ] || part compile 110 make -j16 cuda
part check 40 build/cuda/metal-check ../../metal all
for model in qwen3_5_moe qwen3_moe deepseek_v3 kimi_k2; do
  for piece in 64 1; do
    part "model-$model-$piece" 15 build/cuda/metal-model ../../metal "build/gpu/$model" \
      "build/gpu/$model/packed_experts" "$out/$model.f32" "$piece" forward 0
    rm -f "$out/$model.f32"
  done
done
part bandwidth 60 build/cuda/metal-bench ../../metal
for tool in racecheck memcheck initcheck synccheck; do
  part "$tool" 40 compute-sanitizer --tool "$tool" --error-exitcode 9 build/cuda/metal-check ../../metal forward 7
done
cat "$out/summary.txt"
