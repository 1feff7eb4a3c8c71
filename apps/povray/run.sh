#!/bin/sh
# One frame: the item is the clock's value at which it is drawn. See README.md.
set -eu

scene=${1:?the first argument names the input with the scene}
shift
read -r clock <"$IEXEC_IN/item" || [ -n "$clock" ]
case $clock in
'' | *[!0-9.]*)
    echo "the item should be the clock's value, such as 0.25" >&2
    exit 2
    ;;
esac
if [ ! -f "$IEXEC_IN/$scene" ]; then
    echo "there is no input \`$scene\`: give it with --input" >&2
    exit 2
fi

work=$(mktemp -d)
cd "$work"
povray "+I$IEXEC_IN/$scene" "+L$IEXEC_IN" +L/usr/share/povray-3.7/include "+K$clock" +W320 +H240 -A "$@" \
    +WT1 -D -P +FP +Oframe.ppm >&2
# The comments in the header tell when the picture was made.
sed '1,/^[0-9][0-9]* [0-9][0-9]*$/{/^#/d}' frame.ppm >"$IEXEC_OUT/frame.ppm"
