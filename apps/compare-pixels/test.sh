#!/bin/sh
# Tests compare-pixels as a host program. Needs rustc (any since 1.63; RUSTC names another one) and nothing else.
set -eu

cd "$(dirname "$0")"
rustc=${RUSTC:-rustc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$rustc" --edition 2021 --crate-name compare_pixels --test -C opt-level=2 -C debug-assertions=on -D warnings src/main.rs -o "$work/tests"
"$work/tests" --quiet

"$rustc" --edition 2021 --crate-name compare_pixels -C opt-level=3 -D warnings src/main.rs -o "$work/compare-pixels"

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
    IEXEC_IN=$work/$in IEXEC_OUT=$work/$out "$work/compare-pixels" "$@" >"$work/stdout" 2>"$work/said" || code=$?
    [ "$code" = "$expected" ] || fail "exit code $code instead of $expected with $in $*: $(cat "$work/said")"
    [ ! -s "$work/stdout" ] || fail "something was printed to stdout"
}

says() {
    grep -q -F -e "$1" "$work/said" || fail "\"$1\" is not said, but: $(cat "$work/said")"
}

# Two runs of one scene: other comments, other names for the folders' files on disk, the same pixels.
mkdir -p "$work/one/frames/empty" "$work/two/frames"
printf 'P6\n# Monday\n2 2\n255\nabcdefghijkl' >"$work/one/frames/0001.ppm"
printf 'P6 2 2 255\nabcdefghijkl' >"$work/two/frames/0001.PPM"
printf 'P5 1 1 255 x' >"$work/one/grey.pgm"
printf 'P5 1 # Tuesday\n1 255 x' >"$work/two/grey.pnm"
echo 'frame 1' | tee "$work/one/log.txt" >"$work/two/log.txt"
run 0 one one-out
run 0 two two-out
diff -r "$work/one-out" "$work/two-out" || fail "the same pixels have two forms"
[ "$(cd "$work/one-out" && find . -type f | LC_ALL=C sort | tr '\n' ' ')" = './frames/0001.png ./grey.png ./log.txt ' ] ||
    fail "other files than expected: $(ls -R "$work/one-out")"
cmp "$work/one/log.txt" "$work/one-out/log.txt"
run 0 one-out again
diff -r "$work/one-out" "$work/again" || fail "the canonical form of the canonical form is another"
run 0 one only --only-images
[ ! -e "$work/only/log.txt" ] && [ -e "$work/only/grey.png" ] || fail "--only-images leaves the wrong files out"
printf 'P5 1 1 255 y' >"$work/two/grey.pnm"
run 0 two other
! cmp -s "$work/one-out/grey.png" "$work/other/grey.png" || fail "other pixels have the same form"
run 0 one masked-one --drop-low-bits 1
run 0 two masked-two --drop-low-bits 1
cmp "$work/masked-one/grey.png" "$work/masked-two/grey.png"

# What is refused.
printf 'P5 1 1 255 x' >"$work/one/grey.PGM"
run 2 one clash
says 'two files would get this name'
rm "$work/one/grey.PGM"
mkdir "$work/one/grey.png"
echo >"$work/one/grey.png/file"
run 2 one clash
says 'a file and a folder would get this name'
rm -r "$work/one/grey.png"
printf 'P5 1 1 255 ' >"$work/one/grey.pgm"
run 2 one cut
says '"grey.pgm": has 0 bytes of samples instead of 1'
ln -s /etc/passwd "$work/two/link.png"
run 2 two link
says '"link.png": is neither a file nor a folder'
run 2 missing gone
says 'cannot be listed'
run 2 one usage --drop-low-bits 8
says usage
run 2 one usage --gamma
says usage
if IEXEC_OUT=$work/out "$work/compare-pixels" 2>"$work/said"; then fail "no input folder is accepted"; fi
says IEXEC_IN
echo "compare-pixels: forms, refusals and $(($(wc -l <check/images.txt))) pictures are right"
