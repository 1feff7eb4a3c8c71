#!/bin/sh
# Looks at the results of the README's command: four pictures with nothing but pixels in them, on which the small ball goes around.
set -eu
for item in 000000 000001 000002 000003; do
    test "$(head -n 3 "$1/$item/frame.ppm" | tr '\n' ' ')" = 'P6 320 240 255 '
    test "$(wc -c <"$1/$item/frame.ppm")" = $((15 + 320 * 240 * 3))
done
python3 - "$1" <<'PYTHON'
import sys

WIDTH = 320


def blue(item):
    """Number of the blue pixels, and the mean of their columns."""
    with open(f"{sys.argv[1]}/00000{item}/frame.ppm", "rb") as file:
        pixels = file.read()[15:]
    columns = [at // 3 % WIDTH for at in range(0, len(pixels), 3) if pixels[at + 2] > 40 + pixels[at]]
    return len(columns), sum(columns) / max(len(columns), 1)


right, front, left, behind = (blue(item) for item in range(4))
print(f"blue pixels and their middle column: {right}, {front}, {left}, {behind}")
centre = WIDTH / 2
# The same way to both sides; in the middle in front of the large ball, larger, and then hidden behind it.
assert right[1] > centre + 50 and left[1] < centre - 50 and abs(right[1] + left[1] - 2 * centre) < 5
assert abs(front[1] - centre) < 5 and front[0] > 1.5 * right[0] and behind[0] < right[0] / 4
PYTHON
