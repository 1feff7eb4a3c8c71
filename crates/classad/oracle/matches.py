#!/usr/bin/env python3
"""Symmetric matches a second by HTCondor's library through Python: the other side of `benches/matching.rs`.

    python3 matches.py SECONDS < ADS

Reads lines `machine<tab>AD` and `job<tab>AD`. Prints how many matches of each job with each machine it makes a second, how many in
the best round over all pairs, and how many pairs pass.
"""

import sys
import time

import htcondor2  # noqa: F401  switches the library to the semantics of pools
import classad2


def main():
    ads = {"machine": [], "job": []}
    for line in sys.stdin:
        kind, _, text = line.rstrip("\n").partition("\t")
        ads[kind].append(classad2.ClassAd(text))
    pairs = len(ads["machine"]) * len(ads["job"])
    start, rounds, best, passing = time.perf_counter(), 0, float("inf"), 0
    while rounds == 0 or time.perf_counter() - start < float(sys.argv[1]):
        begin, passing = time.perf_counter(), 0
        for job in ads["job"]:
            for machine in ads["machine"]:
                passing += machine.symmetricMatch(job)
        best = min(best, time.perf_counter() - begin)
        rounds += 1
    print(pairs * rounds / (time.perf_counter() - start), pairs / best, passing)


if __name__ == "__main__":
    main()
