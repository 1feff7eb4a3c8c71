#!/bin/sh
# Looks at the results of the README's command: three pictures of 320x180 without a word in them, on which the head has turned.
set -eu
for item in 000000 000001 000002; do
    # The signature, and the first part with the size.
    test "$(od -An -tx1 -N 24 "$1/$item/frame.png" | tr -d ' \n')" = 89504e470d0a1a0a0000000d4948445200000140000000b4
    if grep -q -a -e tEXt -e tIME -e iTXt "$1/$item/frame.png"; then
        echo "$item/frame.png has texts in it" >&2
        exit 1
    fi
done
python3 - "$1" <<'PYTHON'
import struct
import sys
import zlib

WIDTH, HEIGHT = 320, 180


def rows(item):
    """The rows of a picture in the canonical form: one IDAT, and no filter."""
    with open(f"{sys.argv[1]}/00000{item}/frame.png", "rb") as file:
        data = file.read()
    at, packed = 8, b""
    while at < len(data):
        (count,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + count]
        at += 12 + count
    samples = zlib.decompress(packed)
    step = WIDTH * 3 + 1
    assert len(samples) == step * HEIGHT and not any(samples[::step])
    return [samples[row * step + 1 : (row + 1) * step] for row in range(HEIGHT)]


def orange(picture):
    """The pixels of the head: a share of the picture, and which they are."""
    found = {(x, y) for y in range(HEIGHT) for x in range(WIDTH) if picture[y][3 * x] > picture[y][3 * x + 2] + 40}
    return len(found) / WIDTH / HEIGHT, found


pictures = [rows(item) for item in range(3)]
heads = [orange(picture) for picture in pictures]
print("the head's share of the pictures:", ", ".join(f"{share:.3f}" for share, _ in heads))
for picture, (share, _) in zip(pictures, heads):
    assert 0.05 < share < 0.5
    # The sky is black, the ground in the light is not.
    assert sum(picture[5]) / len(picture[5]) < 30 and sum(picture[170]) / len(picture[170]) > 100
for one, other in ((0, 1), (1, 2), (0, 2)):
    apart = len(heads[one][1] ^ heads[other][1]) / WIDTH / HEIGHT
    assert apart > 0.01, f"frames {one} and {other} differ too little"
PYTHON
