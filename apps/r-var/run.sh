#!/bin/sh
# A task has an item, a reduce has folders. See README.md.
set -eu
if [ -e "$IEXEC_IN/item" ]; then
    exec Rscript --vanilla /app/var.R simulate "$@" >&2
fi
exec Rscript --vanilla /app/var.R merge "$@" >&2
