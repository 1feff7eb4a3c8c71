#!/usr/bin/env python3
"""Holds risk.csv against what theory says: theory.py PRICES RISK.CSV...

The log returns of the stocks are normal, so the portfolio is a mean of log-normal numbers. Its first two moments are known exactly, and a
log-normal number with the same two (L. F. Fenton 1960) has nearly the same quantiles as long as the variances are small. A quantile of N
draws scatters around the true one with the standard deviation sqrt(p (1 - p) / N) / density. Needs Python 3 and nothing else.
"""

import csv
import gzip
import math
import statistics
import sys

DAYS, WINDOW = 10, 1260
# A right result is outside of that in one of 15,000 comparisons.
DEVIATIONS = 4
# Of the log-normal approximation, as a share of the value.
APPROXIMATION = 0.005


def returns(path):
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.reader(file))[-WINDOW - 1 :]
    logs = [[math.log(float(price)) for price in row[1:]] for row in rows]
    columns = list(zip(*logs))
    return [[after - before for before, after in zip(column, column[1:])] for column in columns]


def log_normal(path):
    """Of the portfolio's worth after DAYS: mean, and mean and standard deviation of its logarithm."""
    stocks = returns(path)
    means = [statistics.fmean(stock) for stock in stocks]
    centred = [[value - mean for value in stock] for stock, mean in zip(stocks, means)]
    scale = DAYS / (WINDOW - 1)

    def covariance(one, other):
        return scale * sum(a * b for a, b in zip(centred[one], centred[other]))

    count = len(stocks)
    worth = [math.exp(DAYS * means[i] + covariance(i, i) / 2) for i in range(count)]
    first = sum(worth) / count
    second = 0
    for i in range(count):
        second += worth[i] ** 2 * math.exp(covariance(i, i))
        second += 2 * sum(worth[i] * worth[j] * math.exp(covariance(i, j)) for j in range(i))
    spread = math.sqrt(math.log(second / count**2 / first**2))
    return first, math.log(first) - spread**2 / 2, spread


def main():
    first, middle, spread = log_normal(sys.argv[1])
    normal = statistics.NormalDist()
    rows = 0
    for path in sys.argv[2:]:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                tail, samples = 1 - float(row["level"]), float(row["samples"])
                place = normal.inv_cdf(tail)
                worth = math.exp(middle + spread * place)
                risk = 1 - worth
                shortfall = 1 - first * normal.cdf(place - spread) / tail
                density = normal.pdf(place) / (spread * worth)
                sampling = math.sqrt(tail * (1 - tail) / samples) / density
                for what, expected in (("value_at_risk", risk), ("expected_shortfall", shortfall)):
                    got = float(row[what])
                    # The mean of a tail scatters less than twice as much as the tail's beginning.
                    allowed = DEVIATIONS * sampling * (1 if what == "value_at_risk" else 2) + APPROXIMATION * expected
                    print(f"{path}: {what} at {row['level']}: {got:.6f}, theory {expected:.6f} +- {allowed:.6f}")
                    if not abs(got - expected) <= allowed:
                        sys.exit("that is not what theory says")
                rows += 1
    if rows == 0:
        sys.exit("there is nothing to compare")


main()
