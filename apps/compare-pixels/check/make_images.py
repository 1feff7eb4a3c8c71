"""Makes images.txt: pictures as other programs write them, and what the README says that their canonical form is.

    python3 make_images.py > images.txt

The encoder of the canonical form below was written from the README, not from the Rust source, and packs pictures with Python's zlib: the
tests compare the two. Needs Python 3 and nothing else. Each line: name, file, canonical file, in hexadecimal digits; a line that begins
with "big" describes a picture that is generated: width, height, channels, bytes a sample, length and CRC-32 of the canonical file.
"""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# The canonical form.

LENGTHS = [(3 + i, 0) for i in range(8)]
LENGTHS += [((4 + i % 4 << i // 4 - 1) + 3, i // 4 - 1) for i in range(8, 28)] + [(258, 0)]
DISTANCES = [(1 + i, 0) for i in range(4)] + [((2 + i % 2 << i // 2 - 1) + 1, i // 2 - 1) for i in range(4, 30)]


def symbol_of(table, value):
    number = max(i for i, (base, _) in enumerate(table) if base <= value)
    base, extra = table[number]
    return number, value - base, extra


def mirrored(value, count):
    return int(format(value, f"0{count}b")[::-1], 2)


def literal(symbol):
    if symbol < 144:
        return mirrored(0x30 + symbol, 8), 8
    if symbol < 256:
        return mirrored(0x190 + symbol - 144, 9), 9
    if symbol < 280:
        return mirrored(symbol - 256, 7), 7
    return mirrored(0xC0 + symbol - 280, 8), 8


def coded(data, start, end, table):
    """The bits of a block, low bit first, as pairs of value and count."""
    out = []

    def enter(at):
        if at + 4 > end:
            return None
        place = int.from_bytes(data[at : at + 4], "little") * 0x9E3779B1 % 2**32 >> 17
        before = table.get(place)
        table[place] = at
        return before

    at = start
    while at < end:
        before = enter(at)
        length = 0
        if before is not None and at - before <= 32768:
            while length < 258 and at + length < end and data[before + length] == data[at + length]:
                length += 1
        if length < 4:
            out.append(literal(data[at]))
            at += 1
            continue
        number, rest, extra = symbol_of(LENGTHS, length)
        out += [literal(257 + number), (rest, extra)]
        number, rest, extra = symbol_of(DISTANCES, at - before)
        out += [(mirrored(number, 5), 5), (rest, extra)]
        for inside in range(at + 1, at + length):
            enter(inside)
        at += length
    return out + [literal(256)]


def canonical_zlib(data):
    whole = bytearray(b"\x78\x01")
    held = count = 0

    def put(bits, number):
        nonlocal held, count
        held |= bits << count
        count += number
        while count >= 8:
            whole.append(held & 255)
            held >>= 8
            count -= 8

    table = {}
    for start in range(0, len(data), 65535):
        end = min(len(data), start + 65535)
        last = int(end == len(data))
        value = coded(data, start, end, table)
        if 3 + sum(number for _, number in value) <= 8 * (end - start) + 35:
            put(last | 2, 3)
            for bits, number in value:
                put(bits, number)
        else:
            put(last, 3)
            put(0, -count % 8)
            whole += struct.pack("<HH", end - start, end - start ^ 0xFFFF) + data[start:end]
    put(0, -count % 8)
    return bytes(whole) + struct.pack(">I", zlib.adler32(data))


def canonical(width, height, channels, sample_bytes, samples):
    row = width * channels * sample_bytes
    data = b"".join(b"\0" + samples[at : at + row] for at in range(0, len(samples), row))
    assert len(data) == (row + 1) * height
    packed = canonical_zlib(data)
    assert zlib.decompress(packed) == data
    head = struct.pack(">IIBBBBB", width, height, 8 * sample_bytes, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


# Pictures as others write them.


def noise(seed, count):
    """The generator that the tests have too."""
    state = seed
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 56


def paeth(a, b, c):
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def filtered(rows, back, first):
    out = b""
    before = None
    for number, row in enumerate(rows):
        above = before or bytes(len(row))
        kind = (first + number) % 5
        line = []
        for at, byte in enumerate(row):
            a = row[at - back] if at >= back else 0
            c = above[at - back] if at >= back else 0
            b = above[at]
            line.append((byte - [0, a, b, (a + b) // 2, paeth(a, b, c)][kind]) & 255)
        out += bytes([kind]) + bytes(line)
        before = row
    return out


def pack_row(values, depth):
    if depth == 16:
        return b"".join(struct.pack(">H", value) for value in values)
    bits = "".join(format(value, f"0{depth}b") for value in values)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def png(width, height, colour, depth, pixels, interlaced, extra=(), before=b"", level=9, first=0, piece=None):
    """`pixels` are rows of pixels, tuples of samples as they stand in the file."""
    raw = b""
    back = max(1, CHANNELS[colour] * depth // 8)
    for x, y, dx, dy in PASSES if interlaced else [(0, 0, 1, 1)]:
        rows = [[sample for pixel in row[x::dx] for sample in pixel] for row in pixels[y::dy]]
        raw += filtered([pack_row(row, depth) for row in rows if row], back, first)
    packed = zlib.compress(raw, level)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    piece = piece or len(packed)
    parts = b"".join(chunk(b"IDAT", packed[at : at + piece]) for at in range(0, len(packed), piece))
    return SIGNATURE + chunk(b"IHDR", head) + before + b"".join(chunk(*one) for one in extra) + parts + chunk(b"IEND", b"")


def show(name, file, expected):
    print(name, file.hex(), expected.hex())


def spread(value, depth):
    return value if depth >= 8 else value * 255 // (2**depth - 1)


def all_pngs():
    for colour, depths in [(0, [1, 2, 4, 8, 16]), (2, [8, 16]), (3, [1, 2, 4, 8]), (4, [8, 16]), (6, [8, 16])]:
        for depth in depths:
            for interlaced in [False, True]:
                for keyed in [False, True] if colour in (0, 2, 3) else [False]:
                    for width, height in [(9, 6), (1, 1), (3, 10)]:
                        one(colour, depth, interlaced, keyed, width, height)


def one(colour, depth, interlaced, keyed, width, height):
    channels = CHANNELS[colour]
    seed = colour * 1000 + depth * 10 + width
    source = list(noise(seed, width * height * channels * 2))
    values = [(source[2 * i] << 8 | source[2 * i + 1]) >> (16 - depth) for i in range(width * height * channels)]
    palette = [tuple(noise(7 + i, 3)) for i in range(2**depth if depth < 8 else 200)]
    if colour == 3:
        values = [value % len(palette) for value in values]
    flat = [tuple(values[at : at + channels]) for at in range(0, len(values), channels)]
    if width == 9:
        flat[10:40] = [flat[10]] * 30
    pixels = [flat[at : at + width] for at in range(0, len(flat), width)]
    chunks = []
    key, alphas = flat[len(flat) // 2], [i * 37 % 256 for i in range(min(len(palette), 5))]
    if colour == 3:
        chunks.append((b"PLTE", bytes(sample for entry in palette for sample in entry)))
        if keyed:
            chunks.append((b"tRNS", bytes(alphas)))
    elif keyed:
        chunks.append((b"tRNS", b"".join(struct.pack(">H", sample) for sample in key)))
    out = []
    for pixel in flat:
        if colour == 3:
            index = pixel[0]
            made = list(palette[index])
            made += [alphas[index] if index < len(alphas) else 255] if keyed else []
        else:
            made = [spread(sample, depth) for sample in pixel]
            made += [0 if pixel == key else 65535 if depth == 16 else 255] if keyed else []
        out.append(made)
    wide = 2 if depth == 16 else 1
    samples = b"".join(sample.to_bytes(wide, "big") for pixel in out for sample in pixel)
    name = f"colour{colour}-depth{depth}{'-interlaced' * interlaced}{'-keyed' * keyed}-{width}x{height}.png"
    expected = canonical(width, height, len(out[0]), wide, samples)
    show(name, png(width, height, colour, depth, pixels, interlaced, chunks, first=seed), expected)


def same_pixels():
    """One picture as eight files: all give the same canonical form."""
    width, height = 11, 7
    source = list(noise(99, 33))
    pixels = [[tuple(source[3 * ((x * y) % 11) : 3 * ((x * y) % 11) + 3]) for x in range(width)] for y in range(height)]
    samples = bytes(sample for row in pixels for pixel in row for sample in pixel)
    expected = canonical(width, height, 3, 1, samples)
    date = chunk(b"tIME", struct.pack(">HBBBBB", 2024, 2, 29, 12, 0, 59))
    for name, file in {
        "plain": png(width, height, 2, 8, pixels, False),
        "stored": png(width, height, 2, 8, pixels, False, level=0),
        "filters": png(width, height, 2, 8, pixels, False, first=3),
        "pieces": png(width, height, 2, 8, pixels, False, piece=7),
        "dated": png(width, height, 2, 8, pixels, False, before=date),
        "text": png(width, height, 2, 8, pixels, False, [(b"tEXt", b"Software\0x"), (b"gAMA", b"\0\0\xb1\x8f")]),
        "interlaced": png(width, height, 2, 8, pixels, True),
        "tail": png(width, height, 2, 8, pixels, False) + b"and more",
    }.items():
        show(f"same-{name}.png", file, expected)
    entries = sorted({pixel for row in pixels for pixel in row})
    indices = [[(entries.index(pixel),) for pixel in row] for row in pixels]
    palette = (b"PLTE", bytes(sample for entry in entries for sample in entry))
    show("same-palette.png", png(width, height, 3, 4, indices, False, [palette]), expected)
    show("same.ppm", b"P6\n11 7\n255\n" + samples, expected)
    show("same-comments.ppm", b"P6 # made\n#today\r 11#\n\t7 #\n#\n255\n" + samples, expected)
    lines = [b"".join(bytes(pixel[::-1]) for pixel in row) for row in pixels]
    lines = [line + b"x" * (-len(line) % 4) for line in lines]
    head = struct.pack("<IiiHHIIIIII", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    show("same-24.bmp", b"BM" + struct.pack("<III", 0, 0, 54) + head + b"".join(lines[::-1]), expected)
    head = struct.pack("<IiiHHIIIIII", 40, width, -height, 1, 24, 0, 0, 0, 0, 0, 0)
    show("same-24-top.bmp", b"BM" + struct.pack("<III", 9, 0, 60) + head + b"gap..." + b"".join(lines), expected)
    lines = [b"".join(bytes(pixel[::-1]) + b"?" for pixel in row) for row in pixels]
    head = struct.pack("<IiiHHIIIIII", 40, width, height, 1, 32, 0, 0, 0, 0, 0, 0)
    show("same-32.bmp", b"BM" + struct.pack("<III", 0, 0, 54) + head + b"".join(lines[::-1]), expected)


def others():
    samples = bytes(range(0, 32))
    show("grey.pgm", b"P5 8 4 255 " + samples, canonical(8, 4, 1, 1, samples))
    scaled = bytes((2 * sample * 255 + 31) // 62 for sample in samples)
    show("grey-31.pgm", b"P5 8 4 31\n" + samples, canonical(8, 4, 1, 1, scaled))
    show("grey-deep.pgm", b"P5 4 4 65535\n" + samples, canonical(4, 4, 1, 2, samples))
    values = [300, 0, 1, 2, 150, 299]
    scaled = b"".join(struct.pack(">H", (2 * value * 65535 + 300) // 600) for value in values)
    deep = b"".join(struct.pack(">H", value) for value in values)
    show("rgb-300.pnm", b"P6\n2 1\n300\n" + deep, canonical(2, 1, 3, 2, scaled))
    values = list(noise(5, 4 * 3 * 2))
    head = struct.pack("<IiiHHIIIIII", 108, 3, -2, 1, 32, 3, 0, 0, 0, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(108 - 56)
    rgba = bytes(values[at + place] for at in range(0, 24, 4) for place in (2, 1, 0, 3))
    show("alpha.bmp", b"BM" + struct.pack("<III", 0, 0, 122) + head + bytes(values), canonical(3, 2, 4, 1, rgba))


def big():
    for width, height, channels, sample_bytes in [(300, 200, 3, 1), (512, 300, 1, 1), (100, 180, 4, 2)]:
        row = width * channels * sample_bytes
        source = list(noise(width, row * height))
        # Noise in the upper third, below it a ramp, below that stripes that repeat after some rows.
        samples = bytearray()
        for y in range(height):
            for x in range(row):
                if 3 * y < height:
                    samples.append(source[y * row + x])
                elif 3 * y < 2 * height:
                    samples.append((x // 5 + y) % 256)
                else:
                    samples.append(source[(y % 7) * row + x])
        file = canonical(width, height, channels, sample_bytes, bytes(samples))
        print("big", width, height, channels, sample_bytes, len(file), zlib.crc32(file))


all_pngs()
same_pixels()
others()
big()
