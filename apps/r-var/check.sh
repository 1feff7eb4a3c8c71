#!/bin/sh
# Looks at the results of the README's command: what is at risk is what theory says, and the merge has the draws of all items.
set -eu
python3 theory.py ../efast/data/sp500_prices.csv.gz "$1/reduce/risk.csv" "$1"/00000?/risk.csv
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
