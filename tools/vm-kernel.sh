#!/bin/sh
# Fetches Debian's kernel for tests/vm into build/vm: the package is unpacked there, not installed. No root is needed.
#
#   tools/vm-kernel.sh
#
# A second run finds what the first one has left, and does nothing.
set -eu
cd "$(dirname "$0")/.."
folder=build/vm

main() {
    if [ -e "$folder/kernel" ]; then
        return
    fi
    for tool in apt-get apt-cache dpkg-deb; do
        command -v $tool >/dev/null || fail "$tool is not here: tests/vm boot Debian's kernel"
    done
    # The package without a version in its name depends on the one with the kernel.
    package=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p')
    [ -n "$package" ] || fail "apt knows no linux-image-amd64: apt-get update"
    rm -rf "$folder"
    mkdir -p "$folder/unpacked"
    (cd "$folder" && apt-get download -q "$package") || fail "apt-get could not download $package"
    dpkg-deb --fsys-tarfile "$folder"/linux-image-*.deb | tar -x -C "$folder/unpacked" ./boot ./lib/modules
    rm "$folder"/linux-image-*.deb
    mv "$folder/unpacked" "$folder/kernel" # last: what has this name is whole
    echo "$package is in $folder/kernel"
}

fail() {
    echo "tools/vm-kernel.sh: $1" >&2
    exit 1
}

main
