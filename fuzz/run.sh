#!/bin/sh
# Fuzzes every target in turn: sh fuzz/run.sh SECONDS [TARGET...]
# Prints one line for each: executions, executions a second, edges covered, inputs that failed. Exits 1 if any did.
# Needs a nightly compiler and `cargo install cargo-fuzz --locked`. Corpora grow in fuzz/corpus, failures in fuzz/artifacts.
set -eu
seconds=${1:?usage: sh fuzz/run.sh SECONDS [TARGET...]}
shift
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)
cargo +nightly fuzz build
failed=0
printf '%-12s %12s %9s %7s %8s\n' target executions exec/s edges failures
for target; do
    mkdir -p "corpus/$target" "artifacts/$target"
    case $target in pt | npz) words=zip ;; *) words=$target ;; esac
    dictionary=
    [ ! -f "dictionaries/$words.dict" ] || dictionary=-dict=dictionaries/$words.dict
    # Each input has 10 s and each allocation 512 MiB: a small file must not cost what it merely claims.
    cargo +nightly fuzz run "$target" "corpus/$target" "seeds/$target" -- $dictionary \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=16384 \
        -print_final_stats=1 >"artifacts/$target.log" 2>&1 || true
    # What targets keep in memory.
    rm -rf /dev/shm/ontogeny-fuzz-*
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "artifacts/$target.log")
    speed=$(sed -n 's/^stat::average_exec_per_sec: *//p' "artifacts/$target.log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "artifacts/$target.log" | tail -n 1)
    failures=$(find "artifacts/$target" -type f | wc -l)
    [ "$failures" -eq 0 ] || failed=1
    printf '%-12s %12s %9s %7s %8s\n' "$target" "${executions:-?}" "${speed:-?}" "${edges:-?}" "$failures"
done
exit $failed
