#!/usr/bin/env bash
# The most valuable trainings for half an hour of one graphics card, in order; resumable.
#   experiments/gpu.sh OUT [SECONDS] [DEVICE]    # 1620 seconds on CUDA, if not given
# Run folders lie in OUT/runs; OUT/small has what is to be kept of them. To try it on a CPU:
#   experiments/gpu.sh /tmp/gpu 60 CPU
set -euo pipefail
out=${1:?usage: experiments/gpu.sh OUT [SECONDS] [DEVICE]}
seconds=${2:-1620}
device=${3:-CUDA}
recipes=$(dirname "$0")/recipes

campaign() {
    local left=$((seconds - SECONDS))
    if ((left > 20)); then
        python -m maam.training.campaign --device "$device" --out "$out/runs" --budget "$left" "$@"
    fi
}

keep() {
    mkdir -p "$out/small"
    for run in "$out"/runs/*/; do
        [[ -d $run ]] || continue # nothing was begun
        local target=$out/small/$(basename "$run")
        mkdir -p "$target"
        for name in meta.json config.toml metrics.csv metrics.jsonl scores.json best.safetensors; do
            if [[ -f $run$name ]]; then cp "$run$name" "$target/"; fi
        done
    done
}
trap keep EXIT

campaign "$recipes"/{separable-resnet-30,maamnet-small-30,maam-multires-cutmix-sgd60}.toml:0 --parallel 3
campaign "$recipes"/maamnet-{tiny,nano}-200.toml:0 --parallel 2
campaign "$recipes/maamnet-small-100.toml:0"
campaign "$recipes/maam-multires-cutmix-all-100.toml:0,1,2" --parallel 3
campaign "$recipes"/maamnet-{tiny,nano}-200.toml:1,2 --parallel 2
campaign "$recipes/maamnet-base-200.toml:0"
campaign "$recipes/maam-deep-cutmix-sgd60.toml:0"
