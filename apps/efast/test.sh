#!/bin/sh
# Tests efast as a host program: unit tests and scipy's golden cases, then the default job against result.sha256.
#
#   ./test.sh           exits 1 on the first thing that is not as it should be
#   ./test.sh --accept  write result.sha256 anew, after a change of the program that is meant to change its output
#
# Needs rustc (any since 1.63; RUSTC names another one) and nothing else. The digests in result.sha256 are also those of efast.wasm's
# output: the same bytes from every build.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
rustc=${RUSTC:-rustc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$here"

"$rustc" --edition 2021 --crate-name efast --test -C opt-level=2 -C debug-assertions=on -D warnings src/main.rs -o "$work/tests"
TMPDIR="$work" "$work/tests" --quiet

"$rustc" --edition 2021 --crate-name efast -C opt-level=3 -D warnings src/main.rs -o "$work/efast"
"$work/efast" all --prices data/sp500_prices.csv.gz --out "$work/job" >"$work/stdout" 2>/dev/null
if [ -s "$work/stdout" ]; then
    echo "test.sh: \`all\` wrote to stdout, where the network would keep it as a file" >&2
    exit 1
fi
cd "$work/job"
if [ "${1:-}" = --accept ]; then
    find . -type f | LC_ALL=C sort | xargs sha256sum >"$here/check/result.sha256"
fi
expected=$(wc -l <"$here/check/result.sha256")
found=$(find . -type f | wc -l)
if [ "$expected" -ne "$found" ]; then
    echo "test.sh: the job made $found files, result.sha256 has $expected" >&2
    exit 1
fi
sha256sum --quiet --check "$here/check/result.sha256"
echo "efast: unit tests, golden trees and all $found files of the default job are right"
