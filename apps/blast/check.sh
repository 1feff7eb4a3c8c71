#!/bin/sh
# Looks at the results of the README's command: each of the 60 queries is found in the sequence that it was cut out of, at that place,
# nearly whole, with the bases changed that were changed, and surely.
set -eu
cat example/queries/*.fa | awk '
    FNR == NR && /^>/ { place[substr($1, 2)] = $NF }
    FNR == NR { next }
    { split($1, query, "."); subject = "subject" substr(query[1], 6) }
    # Columns: query, subject, identity, length, mismatches, gaps, then from and to in the query and in the subject, E-value, score.
    $2 == subject && $4 > 570 && $3 > 92 && $3 < 99.5 && $9 - $7 == place[$1] - 1 && $11 < 1e-100 && !seen[$1]++ { found++ }
    END {
        print found " of 60 queries found where they were cut out"
        exit found != 60
    }' - "$1/reduce/hits.tsv"
cat "$1"/00000?/hits.tsv | cmp - "$1/reduce/hits.tsv"
