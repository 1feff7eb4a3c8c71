#!/bin/sh
# Looks at the results of the README's command: poses for each of the three seeds, and other ones for another seed.
set -eu
for item in 000000 000001 000002; do
    # The ligand binds: less than -5 kcal/mol.
    awk 'NR == 1 && $4 < -5 { found = 1 } END { exit !found }' "$1/$item/scores.tsv"
    test "$(grep -c '^MODEL' "$1/$item/poses.pdbqt")" = "$(wc -l <"$1/$item/scores.tsv")"
done
! cmp -s "$1/000000/poses.pdbqt" "$1/000001/poses.pdbqt"
