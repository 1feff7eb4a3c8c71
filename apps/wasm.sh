#!/bin/sh
# Builds an application's .wasm from its src/, always to the same bytes, and compares them with the file that is checked in.
#
#   ./wasm.sh APP          build and replace APP/APP.wasm
#   ./wasm.sh APP --check  build and compare only; exits 1 if the bytes differ
#
# The compiler is Debian 12's rustc 1.63 with its WASI standard library and lld 14. The packages are fetched with apt-get download
# and unpacked into a cache folder (WASM_TOOLCHAIN, default: wasm-toolchain in the cargo target folder), never installed: the system's
# own Rust stays as it is. Needs: a Debian 12 (bookworm) package source, amd64, about 550 MB of disk.
set -eu

apps=$(cd "$(dirname "$0")" && pwd)
app=$1
here=$apps/$app
toolchain=${WASM_TOOLCHAIN:-$apps/../target/wasm-toolchain}

RUSTC_VERSION='1.63.0+dfsg1-2'
LLVM_VERSION='1:14.0.6-12'

fetch_toolchain() {
    rm -rf "$toolchain.part"
    mkdir -p "$toolchain.part/debs"
    (
        cd "$toolchain.part/debs"
        apt-get download "rustc=$RUSTC_VERSION" "libstd-rust-1.63=$RUSTC_VERSION" \
            "libstd-rust-dev-wasm32=$RUSTC_VERSION" "lld-14=$LLVM_VERSION" "libllvm14=$LLVM_VERSION" \
            libz3-4 libedit2 libxml2 libbsd0 libmd0 libicu72
        for package in *.deb; do
            dpkg -x "$package" ..
        done
    )
    rm -rf "$toolchain.part/debs" "$toolchain"
    mv "$toolchain.part" "$toolchain"
}

[ -x "$toolchain/usr/bin/rustc" ] && [ -x "$toolchain/usr/lib/llvm-14/bin/wasm-ld" ] || fetch_toolchain
toolchain=$(cd "$toolchain" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$here/src" "$work/src"

# The paths of this machine are mapped away, there is one code generation unit and nothing left to strip: the bytes depend on the
# sources and on the compiler alone.
cd "$work"
LD_LIBRARY_PATH="$toolchain/usr/lib/x86_64-linux-gnu" "$toolchain/usr/bin/rustc" \
    --crate-name "$(echo "$app" | tr - _)" --crate-type bin --edition 2021 --target wasm32-wasi \
    -C opt-level=3 -C codegen-units=1 -C panic=abort -C lto=fat -C embed-bitcode=yes -C strip=symbols -C debuginfo=0 \
    -C linker="$toolchain/usr/lib/llvm-14/bin/wasm-ld" \
    --sysroot "$toolchain/usr" \
    --remap-path-prefix "$work=$app" --remap-path-prefix "$toolchain=toolchain" \
    src/main.rs -o "$app.wasm"

if grep -a -q -e "$work" -e "$toolchain" "$app.wasm"; then
    echo "wasm.sh: a path of this machine is inside $app.wasm" >&2
    exit 1
fi
if [ "${2:-}" = --check ]; then
    cmp "$app.wasm" "$here/$app.wasm"
    echo "$app.wasm is what its source makes ($(wc -c <"$app.wasm") bytes)"
else
    cp "$app.wasm" "$here/$app.wasm"
    echo "$app.wasm: $(wc -c <"$app.wasm") bytes, sha256 $(sha256sum <"$app.wasm" | cut -d' ' -f1)"
fi
