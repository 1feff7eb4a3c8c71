#!/bin/sh
# Tests primes as a host program. Needs rustc (any since 1.63; RUSTC names another one) and nothing else.
set -eu

cd "$(dirname "$0")"
rustc=${RUSTC:-rustc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$rustc" --edition 2021 --crate-name primes --test -C opt-level=2 -C debug-assertions=on -D warnings src/main.rs -o "$work/tests"
"$work/tests" --quiet

"$rustc" --edition 2021 --crate-name primes -C opt-level=3 -D warnings src/main.rs -o "$work/primes"
IEXEC_OUT=$work "$work/primes" 100000000
word() { printf '%064x' "$1"; }
expected="\"callback-data\":\"0x$(word 100000000)$(word 5761455)\""
grep -q -F "$expected" "$work/computed.json" || { echo "test.sh: computed.json has another answer: $(cat "$work/computed.json")" >&2; exit 1; }
if "$work/primes" 2>"$work/said" || "$work/primes" -1 2>>"$work/said" || "$work/primes" 1 2 2>>"$work/said"; then
    echo "test.sh: wrong arguments are accepted" >&2
    exit 1
fi
[ "$(grep -c usage "$work/said")" = 3 ] || { echo "test.sh: wrong arguments are not explained" >&2; exit 1; }
echo "primes: counts, answer and refusals are right"
