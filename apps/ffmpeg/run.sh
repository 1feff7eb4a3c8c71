#!/bin/sh
# A task has an item, a segment of a film; a reduce has folders, and joins the segments. See README.md.
set -eu

# One thread, for the number of threads changes what x264 makes; and of the processor only what every x86-64 has, for ffmpeg's
# faster code for newer ones rounds in other ways.
encode() {
    ffmpeg -nostdin -hide_banner -loglevel warning -cpuflags sse2 -threads 1 "$@"
}

if [ ! -e "$IEXEC_IN/item" ]; then
    # The names of the folders are the items' numbers with leading zeros, so this is the items' order.
    find "$IEXEC_IN" -mindepth 2 -maxdepth 2 -name segment.mp4 | sort | sed "s/.*/file '&'/" >/tmp/segments.txt
    if [ ! -s /tmp/segments.txt ]; then
        echo "there is no segment.mp4 of any item" >&2
        exit 2
    fi
    encode -f concat -safe 0 -i /tmp/segments.txt -map_metadata -1 -c copy -fflags +bitexact "$IEXEC_OUT/film.mp4" >&2
    exit
fi

# cpu-independent: else x264 decides by the processor's instructions.
encode -flags:v +bitexact -idct simple -i "$IEXEC_IN/item" -map 0:v:0 -map '0:a:0?' -map_metadata -1 \
    -c:v libx264 -crf 23 -pix_fmt yuv420p -c:a aac "$@" -x264-params cpu-independent=1 -threads 1 \
    -sws_flags +accurate_rnd+bitexact+bicubic -flags:v +bitexact -flags:a +bitexact -fflags +bitexact \
    "$IEXEC_OUT/segment.mp4" >&2
