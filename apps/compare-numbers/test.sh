#!/bin/sh
# Tests compare-numbers as a host program. Needs rustc (any since 1.63; RUSTC names another one) and nothing else.
set -eu

cd "$(dirname "$0")"
rustc=${RUSTC:-rustc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmp src/folder.rs ../compare-pixels/src/folder.rs
"$rustc" --edition 2021 --crate-name compare_numbers --test -C opt-level=2 -C debug-assertions=on -D warnings src/main.rs -o "$work/tests"
"$work/tests" --quiet

"$rustc" --edition 2021 --crate-name compare_numbers -C opt-level=3 -D warnings src/main.rs -o "$work/compare-numbers"

fail() {
    echo "test.sh: $1" >&2
    exit 1
}

# Runs with input and output folder; the exit code must be the first argument.
run() {
    expected=$1 in=$2 out=$3
    shift 3
    mkdir -p "$work/$out"
    code=0
    IEXEC_IN=$work/$in IEXEC_OUT=$work/$out "$work/compare-numbers" "$@" >"$work/stdout" 2>"$work/said" || code=$?
    [ "$code" = "$expected" ] || fail "exit code $code instead of $expected with $in $*: $(cat "$work/said")"
    [ ! -s "$work/stdout" ] || fail "something was printed to stdout"
}

says() {
    grep -q -F -e "$1" "$work/said" || fail "\"$1\" is not said, but: $(cat "$work/said")"
}

# Two machines with another libm: the last digits differ, and the time it took.
mkdir -p "$work/one/poses/empty" "$work/two/poses"
printf 'name,score\na,13.853875324852229\nb,-0.0000000\n' >"$work/one/scores.csv"
printf 'name,score\na,13.853875324852227\nb,0.0000000\n' >"$work/two/scores.csv"
printf 'ATOM      1  C   LIG     9.99996  -6.545\nREMARK took 1.5 s\n' >"$work/one/poses/1.pdbqt"
printf 'ATOM      1  C   LIG    10.00003  -6.545\nREMARK took 1.7 s\n' >"$work/two/poses/1.pdbqt"
printf '1.50\000' | tee "$work/one/model.bin" >"$work/two/model.bin"
for machine in one two; do
    run 0 $machine $machine-out --columns --step 0.001 --skip-lines 'REMARK took'
done
diff -r "$work/one-out" "$work/two-out" || fail "numbers that round to the same have two forms"
[ "$(cd "$work/one-out" && find . -type f | LC_ALL=C sort | tr '\n' ' ')" = './model.bin ./poses/1.pdbqt ./scores.csv ' ] ||
    fail "other files than expected: $(ls -R "$work/one-out")"
printf 'name,score\na,13.854\nb,0\n' | cmp - "$work/one-out/scores.csv"
printf 'ATOM      1  C   LIG          10  -6.545\n' | cmp - "$work/one-out/poses/1.pdbqt"
cmp "$work/one/model.bin" "$work/one-out/model.bin"
run 0 one-out again --columns --step 0.001 --skip-lines 'REMARK took'
diff -r "$work/one-out" "$work/again" || fail "the canonical form of the canonical form is another"
run 0 one chosen --only '*.csv' --only 'poses/*' --as-is '*.pdbqt'
[ ! -e "$work/chosen/model.bin" ] || fail "--only leaves nothing out"
cmp "$work/one/poses/1.pdbqt" "$work/chosen/poses/1.pdbqt"
printf 'name,score\na,13.8539\nb,0\n' | cmp - "$work/chosen/scores.csv"

# What is refused.
run 2 one usage --step 0.3
says usage
run 2 missing gone
says 'cannot be listed'
mkfifo "$work/two/pipe.csv"
run 2 two pipe
says '"pipe.csv": is neither a file nor a folder'
rm "$work/two/pipe.csv"
head -c 67108865 /dev/zero | tr '\000' ' ' >"$work/two/poses/long.txt"
run 2 two long
says '"poses/long.txt": line 1 has more than 67108864 bytes'
if IEXEC_IN=$work/one "$work/compare-numbers" 2>"$work/said"; then fail "no output folder is accepted"; fi
says IEXEC_OUT
echo "compare-numbers: forms, refusals and $(($(wc -l <check/numbers.txt))) numbers are right"
