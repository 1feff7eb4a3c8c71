#!/bin/sh
# Looks at the results of the README's command: four pictures, no two the same, with nothing but pixels in them.
set -eu
for item in 000000 000001 000002 000003; do
    test "$(head -n 3 "$1/$item/frame.ppm" | tr '\n' ' ')" = 'P6 320 240 255 '
    test "$(wc -c <"$1/$item/frame.ppm")" = $((15 + 320 * 240 * 3))
done
test "$(cat "$1"/00000?/frame.ppm | wc -c)" = $((4 * (15 + 320 * 240 * 3)))
test "$(sha256sum "$1"/00000?/frame.ppm | cut -d' ' -f1 | sort -u | wc -l)" = 4
