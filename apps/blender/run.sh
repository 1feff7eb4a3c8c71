#!/bin/sh
# One frame: the item is its number. See README.md.
set -eu

scene=${1:?the first argument names the input with the scene, a .blend or a Python program that makes one}
shift
read -r frame <"$IEXEC_IN/item" || [ -n "$frame" ]
case $frame in
'' | *[!0-9]*)
    echo "the item should be the number of a frame" >&2
    exit 2
    ;;
esac
if [ ! -f "$IEXEC_IN/$scene" ]; then
    echo "there is no input \`$scene\`: give it with --input" >&2
    exit 2
fi
case $scene in
*.blend) set -- "$IEXEC_IN/$scene" --python /app/render.py -- "$frame" "$@" ;;
*.py) set -- --python "$IEXEC_IN/$scene" --python /app/render.py -- "$frame" "$@" ;;
*)
    echo "the scene should be a .blend or a .py" >&2
    exit 2
    ;;
esac
# Scripts inside a .blend are a stranger's, but so is this whole container: drivers may need them.
blender --background --factory-startup --enable-autoexec -noaudio --threads 1 --python-exit-code 1 "$@" >&2
test -s "$IEXEC_OUT/frame.png"
