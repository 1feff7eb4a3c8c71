#!/bin/sh
# Looks at the results of the README's command: each of the 60 queries is found in the sequence that it was cut out of.
set -eu
awk '
    { split($1, query, "."); subject = "subject" substr(query[1], 6) }
    $2 == subject && $4 > 500 && !seen[$1]++ { found++ }
    END { exit found != 60 }' "$1/reduce/hits.tsv"
cat "$1"/00000?/hits.tsv | cmp - "$1/reduce/hits.tsv"
