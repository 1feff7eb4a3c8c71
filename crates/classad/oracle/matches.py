#!/usr/bin/env python3
"""Symmetric matches a second by HTCondor's library through Python, on the ads of the benchmark.

    cargo bench -p gristmill-classad --bench matching -- --ads | python3 matches.py

Needs the Python package `htcondor`. `matching` prints what ours takes for the same pairs.
"""

import sys
import time

import htcondor2  # noqa: F401  switches the library to the semantics of pools
import classad2

SECONDS = 4.0


def main():
    ads = {"machine": [], "job": []}
    for line in sys.stdin:
        kind, _, text = line.rstrip("\n").partition("\t")
        if kind in ads:
            ads[kind].append(classad2.ClassAd(text))
    start, matched, passing, rounds = time.perf_counter(), 0, 0, 0
    while time.perf_counter() - start < SECONDS:
        passing = 0
        for job in ads["job"]:
            for machine in ads["machine"]:
                passing += machine.symmetricMatch(job)
                matched += 1
        rounds += 1
    seconds = time.perf_counter() - start
    pairs = len(ads["machine"]) * len(ads["job"])
    print(f"htcondor {classad2.version()}: {matched / seconds:.0f}/s, {1e9 * seconds / matched:.0f} ns each, {passing} of {pairs} pass")


if __name__ == "__main__":
    main()
