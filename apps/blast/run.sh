#!/bin/sh
# A task has an item, FASTA queries; a reduce has folders. See README.md.
set -eu

if [ ! -e "$IEXEC_IN/item" ]; then
    # The names of the folders are the items' numbers with leading zeros, so this is the items' order.
    find "$IEXEC_IN" -mindepth 2 -maxdepth 2 -name hits.tsv | sort | xargs -r cat >"$IEXEC_OUT/hits.tsv"
    exit
fi

database=${1:?the first argument names the input with the database}
shift
if [ ! -f "$IEXEC_IN/$database" ]; then
    echo "there is no input \`$database\`: give it with --input" >&2
    exit 2
fi
# The tools tell NCBI of their use unless told otherwise; there is no network, and nothing to wait for.
export BLAST_USAGE_REPORT=false
work=$(mktemp -d)
cd "$work"
makeblastdb -in "$IEXEC_IN/$database" -dbtype nucl -out db >&2
blastn -query "$IEXEC_IN/item" -db db -num_threads 1 -outfmt 6 "$@" -out "$IEXEC_OUT/hits.tsv" >&2
