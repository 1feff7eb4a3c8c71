#!/bin/sh
# One docking: the item is a line `LIGAND SEED`, ligand and receptor are inputs. See README.md.
set -eu

receptor=$1
shift
read -r ligand seed <"$IEXEC_IN/item" || [ -n "$seed" ]
case $seed in
'' | *[!0-9]*)
    echo "the item should be LIGAND SEED, such as \`aspirin.pdbqt 42\`" >&2
    exit 2
    ;;
esac
for file in "$receptor" "$ligand"; do
    if [ ! -f "$IEXEC_IN/$file" ]; then
        echo "there is no input \`$file\`: give it with --input" >&2
        exit 2
    fi
done

# One thread, whatever the machine has. The text that vina prints shows its progress, the poses are the result.
vina --receptor "$IEXEC_IN/$receptor" --ligand "$IEXEC_IN/$ligand" --seed "$seed" --cpu 1 "$@" \
    --out "$IEXEC_OUT/poses.pdbqt" >&2

# Rank and affinity (kcal/mol) of each pose, the best first.
awk -v ligand="$ligand" -v seed="$seed" '/^REMARK VINA RESULT:/ { print ligand "\t" seed "\t" ++rank "\t" $4 }' \
    "$IEXEC_OUT/poses.pdbqt" >"$IEXEC_OUT/scores.tsv"
