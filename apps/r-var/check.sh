#!/bin/sh
# Looks at the results of the README's command: the merged value at risk lies among those of the items.
set -eu
test "$(wc -l <"$1/reduce/risk.csv")" = 4
awk -F, '
    FNR == 1 { next }
    FILENAME ~ /reduce/ {
        if ($1 != 4 || $3 != 400000 || $4 < low[$2] || $4 > high[$2] || $5 <= $4) exit 1
        merged++
        next
    }
    !($2 in low) || $4 < low[$2] { low[$2] = $4 }
    !($2 in high) || $4 > high[$2] { high[$2] = $4 }
    END { exit merged != 3 }' "$1"/00000?/risk.csv "$1/reduce/risk.csv"
