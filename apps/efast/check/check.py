#!/usr/bin/env python3
"""Check efast against numpy and scipy, which share no line with it.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python check.py golden            compute golden.json anew and compare it with the file
    venv/bin/python check.py golden --write    replace the file
    venv/bin/python check.py compare DIR       check everything `efast all --out DIR` wrote

The whole method is written here a second time: returns, standardisation, removal of the market's move, correlation, distance,
scipy.cluster.hierarchy.linkage(method='average') and fcluster, the bootstrap's random numbers, the co-membership counts, their mean over
the windows and the final clusters. Trees must have the same merges and heights to 1e-9; counts must be equal.
"""

import gzip
import json
import pathlib
import struct
import sys
import xml.etree.ElementTree
import zlib

import numpy
import scipy
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

HERE = pathlib.Path(__file__).resolve().parent
PRICES = HERE.parent / "data" / "sp500_prices.csv.gz"
GOLDEN = HERE / "golden.json"
HEIGHT_TOLERANCE = 1e-9
MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15

# name, task, tasks, days of a window, market
GOLDEN_TREES = [
    ("oldest of twelve windows", 0, 12, 1260, "remove"),
    ("sixth of twelve windows", 5, 12, 1260, "remove"),
    ("newest of twelve windows", 11, 12, 1260, "remove"),
    ("newest of twelve windows, market kept", 11, 12, 1260, "keep"),
    ("all days", 0, 1, 8312, "remove"),
    ("all days, market kept", 0, 1, 8312, "keep"),
]
GOLDEN_COUNTS = {"task": 3, "tasks": 12, "window_days": 1260, "block_days": 21, "clusters": 7, "seed": 2018, "samples": 40}


def read_prices():
    lines = gzip.open(PRICES, "rt").read().split()
    tickers = lines[0].split(",")[1:]
    rows = [line.split(",") for line in lines[1:]]
    return tickers, [row[0] for row in rows], numpy.array([[float(cell) for cell in row[1:]] for row in rows])


def window(returns, task, tasks, days):
    spare = len(returns) - days
    start = spare if tasks == 1 else spare * task // (tasks - 1)
    return returns[start : start + days], start


def residuals(returns, market):
    scaled = (returns - returns.mean(axis=0)) / returns.std(axis=0)
    return scaled - scaled.mean(axis=1, keepdims=True) if market == "remove" else scaled


def tree_of(series):
    correlation = numpy.corrcoef(series, rowvar=False)
    distance = numpy.sqrt(numpy.maximum(2 * (1 - correlation), 0))
    numpy.fill_diagonal(distance, 0)
    return correlation, linkage(squareform(distance, checks=False), method="average")


def scramble(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def drawn_days(seed, task, sample, days, block):
    state = scramble((seed + STEP) & MASK)
    state = scramble(((state ^ task) + STEP) & MASK)
    state = scramble(((state ^ sample) + STEP) & MASK)
    starts = []
    for _ in range(-(-days // block)):
        state = (state + STEP) & MASK
        starts.append((scramble(state) * days) >> 64)
    return (numpy.array(starts)[:, None] + numpy.arange(block)).ravel()[:days] % days


def counts_of(series, settings, task, samples):
    size = series.shape[1]
    together, alone = numpy.zeros((size, size), dtype=int), numpy.zeros(size, dtype=int)
    for sample in range(samples):
        days = drawn_days(settings["seed"], task, sample, len(series), settings["block_days"])
        labels = fcluster(tree_of(series[days])[1], settings["clusters"], "maxclust")
        same = (labels[:, None] == labels).astype(int)
        together += same
        alone += same.sum(axis=1) == 1
    return together, alone


def golden():
    _, _, prices = read_prices()
    returns = numpy.diff(numpy.log(prices), axis=0)
    trees = []
    for name, task, tasks, days, market in GOLDEN_TREES:
        merges = tree_of(residuals(window(returns, task, tasks, days)[0], market))[1]
        rows = [[int(a), int(b), float(height), int(leaves)] for a, b, height, leaves in merges]
        trees.append({"name": name, "task": task, "tasks": tasks, "window_days": days, "market": market, "linkage": rows})
    settings = dict(GOLDEN_COUNTS)
    series = residuals(window(returns, settings["task"], settings["tasks"], settings["window_days"])[0], "remove")
    together, alone = counts_of(series, settings, settings["task"], settings["samples"])
    return {
        "made_by": f"check.py golden --write, numpy {numpy.__version__}, scipy {scipy.__version__}: "
        "linkage(squareform(sqrt(2(1-rho))), method='average'), fcluster(criterion='maxclust')",
        "trees": trees,
        "counts": {**settings, "together": together.tolist(), "alone": alone.tolist()},
    }


def same_golden(fresh, stored):
    assert fresh["counts"] == stored["counts"], "the counts differ"
    assert len(fresh["trees"]) == len(stored["trees"]), "not the same cases"
    for a, b in zip(fresh["trees"], stored["trees"]):
        assert {**a, "linkage": 0} == {**b, "linkage": 0}, "not the same cases"
        same_tree(numpy.array(a["linkage"]), numpy.array(b["linkage"]), a["name"])


def same_tree(ours, theirs, name):
    assert ours.shape == theirs.shape and (ours[:, [0, 1, 3]] == theirs[:, [0, 1, 3]]).all(), f"{name}: other merges"
    worst = abs(ours[:, 2] - theirs[:, 2]).max()
    assert worst < HEIGHT_TOLERANCE, f"{name}: heights differ by {worst}"
    return worst


def table(path):
    return [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]


def square(path):
    rows = table(path)
    return rows[0][1:], numpy.array([[float(cell) for cell in row[1:]] for row in rows[1:]])


def compare(folder):
    tickers, days, prices = read_prices()
    returns = numpy.diff(numpy.log(prices), axis=0)
    folders = sorted(path for path in folder.iterdir() if path.name.isdigit())
    total, samples = numpy.zeros((len(tickers), len(tickers))), 0
    for path in folders:
        told = dict(table(path / "window.csv")[1:])
        settings = {key: int(told[key]) for key in ("task", "tasks", "window_days", "samples", "block_days", "clusters", "seed")}
        raw, start = window(returns, settings["task"], settings["tasks"], settings["window_days"])
        assert (told["first_day"], told["last_day"]) == (days[start + 1], days[start + settings["window_days"]])
        series = residuals(raw, told["market"])
        correlation, merges = tree_of(series)
        mean = numpy.corrcoef(raw, rowvar=False)[numpy.tril_indices(len(tickers), -1)].mean()
        assert abs(float(told["mean_correlation"]) - mean) < 1e-6
        names, ours = square(path / "correlation.csv")
        assert names == tickers and abs(ours - correlation).max() < 1e-6
        ours = numpy.array([[float(cell) for cell in row[1:]] for row in table(path / "tree.csv")[1:]])
        worst = same_tree(ours, merges, path.name)
        names, counts = square(path / "counts.csv")
        together, alone = counts_of(series, settings, settings["task"], settings["samples"])
        members = table(path / "members.csv")[1:]
        different = int((counts != together).sum())
        assert names == tickers and different == 0, f"{path.name}: {different} counts differ"
        assert [int(row[2]) for row in members] == alone.tolist()
        labels = fcluster(merges, settings["clusters"], "maxclust")
        own = numpy.array([int(row[1]) for row in members])
        assert ((own[:, None] == own) == (labels[:, None] == labels)).all()
        assert abs(numpy.array([float(row[3]) for row in members]) - raw.std(axis=0) * 252**0.5).max() < 1e-6
        total, samples = total + counts, samples + settings["samples"]
        print(f"{path.name}: tree equal (heights to {worst:.1e}), {settings['samples']} samples give equal counts")
    share = total / samples
    final = folder / "reduce"
    assert abs(square(final / "stability.csv")[1] - share).max() < 1e-6
    result = json.loads((final / "clusters.json").read_text(encoding="utf-8"))
    labels = fcluster(linkage(squareform(1 - share, checks=False), "average"), settings["clusters"], "maxclust")
    theirs = sorted(sorted(numpy.array(tickers)[labels == label].tolist()) for label in set(labels))
    assert sorted(sorted(cluster["stocks"]) for cluster in result["clusters"]) == theirs, "the final clusters differ"
    for cluster in result["clusters"]:
        places = [tickers.index(ticker) for ticker in cluster["stocks"]]
        if len(places) > 1:
            inside = share[numpy.ix_(places, places)][numpy.tril_indices(len(places), -1)]
            assert abs(inside.mean() - cluster["stability"]) < 1e-6 and abs(inside.min() - cluster["weakest"]["together"]) < 1e-6
    for name in ("heatmap", "years"):
        xml.etree.ElementTree.parse(final / f"{name}.svg")
        print(f"{name}.png: {png_size((final / f'{name}.png').read_bytes())} pixels, chunks and data sound")
    print("stability, final clusters and pictures agree:", " | ".join(" ".join(group) for group in theirs))


def png_size(data):
    """Width and height of a PNG whose chunks, checksums and data length are right."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, size = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        size = struct.unpack(">II", body[:8]) if kind == b"IHDR" else size
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    assert len(zlib.decompress(packed)) == size[1] * (1 + 3 * size[0])
    return size


def main(words):
    if words[:1] == ["golden"]:
        fresh = golden()
        if "--write" in words:
            GOLDEN.write_text(json.dumps(fresh).replace("{\"name\"", "\n{\"name\"").replace("\"counts\":", "\n\"counts\":") + "\n")
        same_golden(fresh, json.loads(GOLDEN.read_text()))
        print("golden.json is what scipy says")
    elif words[:1] == ["compare"] and len(words) == 2:
        compare(pathlib.Path(words[1]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
