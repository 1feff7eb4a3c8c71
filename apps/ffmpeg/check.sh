#!/bin/sh
# Looks at the results of the README's command: segments and film are MP4 files, and the film has what the segments have.
set -eu
for file in "$1"/00000?/segment.mp4 "$1/reduce/film.mp4"; do
    test "$(dd if="$file" bs=1 skip=4 count=4 2>/dev/null)" = ftyp
done
# A hundred frames, as the table of their sizes says: `stsz`, version, no common size, the number.
film=$(od -An -v -tx1 "$1/reduce/film.mp4" | tr -d ' \n')
case $film in
*7374737a000000000000000000000064*) ;;
*)
    echo "film.mp4 has not 100 frames" >&2
    exit 1
    ;;
esac
