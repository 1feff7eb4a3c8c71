#!/bin/sh
# Looks at the results of the README's command with the image's own ffmpeg and ffprobe: every frame decodes, the film has the frames of
# the segments in their order and takes as long, and it looks like the example.
set -eu
results=$1 root=$2
segments=$(cd example/segments && pwd)
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT

# A program of the image; it finds the results as /iexec_in, or the second argument, and leaves what it prints.
tool() {
    folder=$1
    shift
    sh ../direct.sh run "$root" "$folder" "$said" LC_ALL=C "$@" </dev/null
}

# Codec, size, rate, number of decoded frames and length of each picture stream.
probe() {
    tool "$results" ffprobe -v error -select_streams v -count_frames -of csv=p=0 \
        -show_entries stream=codec_name,width,height,r_frame_rate,nb_read_frames:format=duration "/iexec_in/$1" | tr '\n' ' '
}

for item in 000000 000001 000002 000003; do
    test "$(probe "$item/segment.mp4")" = 'h264,320,180,25/1,25 1.000000 '
done
test "$(probe reduce/film.mp4)" = 'h264,320,180,25/1,100 4.000000 '

# Joined without a loss: the film's pictures are the segments' pictures.
pictures() {
    tool "$results" ffmpeg -v error -xerror -i "/iexec_in/$1" -map 0:v -f framemd5 - | sed -n 's/.*, *//; /^[0-9a-f]\{32\}$/p'
}
for item in 000000 000001 000002 000003; do pictures "$item/segment.mp4"; done >"$said/segments"
pictures reduce/film.mp4 >"$said/film"
test "$(wc -l <"$said/film")" = 100
cmp "$said/segments" "$said/film"

# It is the film that went in: a mean difference from the original that nobody sees (30 dB of a signal-to-noise ratio and more).
for item in 0 1 2 3; do
    cp "$segments/segment$item.y4m" "$said/original.y4m"
    cp "$results/00000$item/segment.mp4" "$said/segment.mp4"
    tool "$results" ffmpeg -v info -i /iexec_out/segment.mp4 -i /iexec_out/original.y4m -lavfi psnr -f null - 2>"$said/psnr"
    sed -n 's/.*PSNR.* average:\([0-9.]*\|inf\) .*/\1/p' "$said/psnr" | awk '{ found = $1 == "inf" || $1 > 30 } END { exit !found }'
done
