#!/bin/sh
# Fetches receptor and ligand of the example, out of the Debian package autodock-test, into this folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get -qq -o APT::Sandbox::User=root download autodock-test
dpkg -x autodock-test_*.deb .
cp usr/share/autodock/Tests/1pgp_rigid.pdbqt usr/share/autodock/Tests/1pgp_lig.pdbqt "$here"
