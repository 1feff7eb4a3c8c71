#!/usr/bin/env python3
"""Makes the example in this folder: four seconds of a disc that moves over a gradient, as four uncompressed segments."""

import pathlib

WIDTH, HEIGHT, RATE, SEGMENTS, RADIUS = 320, 180, 25, 4, 30

folder = pathlib.Path(__file__).parent / "segments"
folder.mkdir(exist_ok=True)
chroma = bytes([128]) * (WIDTH * HEIGHT // 4)
for segment in range(SEGMENTS):
    with open(folder / f"segment{segment}.y4m", "wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in range(segment * RATE, (segment + 1) * RATE):
            left, top = RADIUS + 2 * frame, RADIUS + frame
            luma = bytearray(40 + (x + y + frame) // 4 % 128 for y in range(HEIGHT) for x in range(WIDTH))
            for y in range(top - RADIUS, top + RADIUS):
                half = int((RADIUS**2 - (y - top) ** 2) ** 0.5)
                luma[y * WIDTH + left - half : y * WIDTH + left + half] = bytes([230]) * (2 * half)
            file.write(b"FRAME\n" + luma + chroma + chroma)
