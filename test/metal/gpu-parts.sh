# Sourced with `out` and `left` set: a folder for what the parts print, and the seconds that there are.
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
# Without arguments a program says how it is used; any other status means that it does not run here.
build/cuda/metal-check >/dev/null 2>&1
[ $? -eq 64 ] && [ -x build/cuda/metal-speed ] || part compile 240 make -j16 cuda
