#!/bin/sh
# Looks at the results of the README's command: poses for each of the three seeds, the best first, and other ones for another seed.
set -eu
for item in 000000 000001 000002; do
    # The ligand binds: less than -5 kcal/mol, and no pose is better than the one before it.
    awk 'NR == 1 && $4 >= -5 || NR > 1 && $4 < before { bad = 1 } { before = $4 } END { exit bad || !NR }' "$1/$item/scores.tsv"
    test "$(grep -c '^MODEL' "$1/$item/poses.pdbqt")" = "$(wc -l <"$1/$item/scores.tsv")"
    # All atoms of the ligand are in every pose.
    awk -v atoms="$(grep -c -e '^ATOM' -e '^HETATM' example/1pgp_lig.pdbqt)" '
        /^MODEL/ { count = 0 }
        /^(ATOM|HETATM)/ { count++ }
        /^ENDMDL/ { models++; if (count != atoms) bad = 1 }
        END { exit bad || !models }' "$1/$item/poses.pdbqt"
done
if cmp -s "$1/000000/poses.pdbqt" "$1/000001/poses.pdbqt"; then exit 1; fi
