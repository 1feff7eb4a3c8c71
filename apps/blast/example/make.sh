#!/bin/sh
# Makes the example in this folder: 2 million random bases, and queries cut out of them with one base in twenty changed. The same
# each time: the random numbers are those of a linear congruential generator.
set -eu
cd "$(dirname "$0")"
rm -rf queries
mkdir queries
LC_ALL=C awk '
    function random(bound) {
        # Constants that keep every product below 2^53 (Park and Miller).
        state = (state * 16807) % 2147483647
        return int(state / 2147483647 * bound)
    }
    BEGIN {
        state = 2018
        for (number = 1; number <= 20; number++) {
            sequence = ""
            for (base = 0; base < 100000; base++) sequence = sequence substr("ACGT", random(4) + 1, 1)
            print ">subject" number > "database.fa"
            for (base = 1; base <= 100000; base += 80) print substr(sequence, base, 80) > "database.fa"
            for (query = 1; query <= 3; query++) {
                place = random(99000) + 1
                found = substr(sequence, place, 600)
                changed = ""
                for (base = 1; base <= 600; base++)
                    changed = changed (random(20) ? substr(found, base, 1) : substr("ACGT", random(4) + 1, 1))
                print ">query" number "." query " cut out at " place "\n" changed > ("queries/chunk" int((number - 1) / 5) ".fa")
            }
        }
    }'
