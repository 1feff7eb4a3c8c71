"""Makes numbers.txt: words, and what Python's decimal arithmetic and the README say that becomes of them.

    python3 make_numbers.py > numbers.txt

Needs Python 3 and nothing else. Each line: d and the significant digits or s and the step, an i behind a comma if integers count; the
word; its canonical form, or = if it stays as it is.
"""

import random
import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

NUMBER = re.compile(r"([+-]?)(\d*)(\.?)(\d*)(?:([eE])([+-]?)(\d+))?")
CONTEXT = Context(prec=5000, rounding=ROUND_HALF_EVEN, Emin=-(10**15), Emax=10**15)


def text(value):
    sign, digits, last = value.as_tuple()
    digits = "".join(map(str, digits)).lstrip("0")
    if not digits:
        return "0"
    last += len(digits) - len(digits.rstrip("0"))
    digits = digits.rstrip("0")
    first = last + len(digits) - 1
    if not -7 <= first <= 20:
        out = digits[0] + ("." + digits[1:] if digits[1:] else "") + f"e{first}"
    elif last >= 0:
        out = digits + "0" * last
    elif first >= 0:
        out = digits[: first + 1] + "." + digits[first + 1 :]
    else:
        out = "0." + "0" * (-1 - first) + digits
    return "-" * sign + out


def canonical(how, word):
    grid, _, integers = how.partition(",")
    match = NUMBER.fullmatch(word)
    if not match or not match[2] + match[4] or len((match[7] or "").lstrip("0")) > 9:
        return "="
    if not match[3] and not match[5] and (not integers or (len(match[2]) > 1 and match[2][0] == "0")):
        return "="
    value = CONTEXT.create_decimal(word)
    if not value:
        return "0"
    if grid[0] == "d":
        return text(Context(int(grid[1:]), ROUND_HALF_EVEN, -(10**15), 10**15).plus(value))
    step = Decimal(grid[1:])
    if value.adjusted() > step.adjusted() + 4000:
        return text(value)
    if value.adjusted() < step.adjusted() - 3:
        return "0"
    return text(CONTEXT.multiply(CONTEXT.divide(value, step).to_integral_value(ROUND_HALF_EVEN), step))


def words():
    yield from """0 00 -0 +0 0.0 -0.0 -0e5 .0 0. 1 -1 +1 12 007 007.50 1. -1. .5 -.5 +.5 1.5 2.5 0.5 9.9995 9.99949 9.9985 99999.95
        999999.5 9999995. 1234567 1234567.0 1234565.0 1234575.0 1234565.00001 0.00012345650 0.00012345750 1e5 1E5 1e+05 1e-05 1.e3 .1e3
        1e20 1e21 9.999999e20 1e-7 9.9e-8 1e-8 9.9999999e-8 1e0 1e00 1e-0 1.5e308 4.9e-324 1e999999999 1e1000000000 1e0000000000000001
        -1e-999999999 12e999999999 0.0005 0.0015 0.00049999 0.00050001 0.0025 -0.0005 -0.0015 -0.0004 0.25 0.75 1.25 2.25 2.75 1.2501
        3 5 7 7.5 12.5 1e2 1.0e2 4.999 5.0001 10.00 100.0 1234.5678 -1234.5678 6.02214076e23 1.602176634e-19 299792458 2.99792458e8
        3.14159265358979323846 2.718281828459045 123456789012345678901234567890 123456789012345678901234567890.5
        nan NaN inf -inf Infinity e5 .e5 . - + -. e .. 1e 1e+ 1.e 1..2 1.2.3 192.168.0.1 2024-01-05 1.5-2.5 1-2 1+1.5 A1B2 x1.5 1.5x
        1.5kg 0x10 0x1.8p3 1_000.5 --1.5 +-1.5 1.5e3.5 1.5e3e3 1.5d3 3.11 v3.11 10.123-100.456 1.5\N{DEGREE SIGN} \N{MINUS SIGN}1.5""".split()
    rng = random.Random(20)
    for _ in range(900):
        whole = "".join(rng.choice("0123456789") for _ in range(rng.choice([0, 1, 1, 2, 3, 7])))
        part = "".join(rng.choice("0005559999123") for _ in range(rng.choice([0, 1, 2, 3, 4, 6, 9])))
        word = rng.choice(["", "", "-", "+"]) + whole + rng.choice([".", ".", ""]) + part
        yield word + rng.choice(["", "", "", f"e{rng.randint(-30, 30)}", f"E+{rng.randint(0, 9):02}"])


GRIDS = ["d6", "d1", "d3", "s0.001", "s0.5", "s2e-3", "s1", "s50", "d17,i", "d2,i", "s20,i"]

for number, word in enumerate(words()):
    for how in GRIDS if number < 170 else [GRIDS[number % len(GRIDS)], "d4", "s0.05"]:
        if word:
            print(how, word, canonical(how, word))
