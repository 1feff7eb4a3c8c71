#!/bin/sh
# Looks at the results of the README's command: three PNG pictures of 320x180, no two the same, without a word in them.
set -eu
for item in 000000 000001 000002; do
    # The signature, and the first part with the size.
    test "$(od -An -tx1 -N 24 "$1/$item/frame.png" | tr -d ' \n')" = 89504e470d0a1a0a0000000d4948445200000140000000b4
    if grep -q -a -e tEXt -e tIME -e iTXt "$1/$item/frame.png"; then
        echo "$item/frame.png has texts in it" >&2
        exit 1
    fi
done
test "$(sha256sum "$1"/00000?/frame.png | cut -d' ' -f1 | sort -u | wc -l)" = 3
