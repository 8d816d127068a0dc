#!/bin/sh
# Fetches the captures that tests/inspect/test_labels.py is held to, into build/captures: those of nDPI, in Debian's
# source package, with what nDPI makes of each flow. apt fetches and checks them; they are used as they are and not kept here.
set -eu
cd "$(dirname "$0")/.."

package=ndpi=4.2-2
archive=ndpi_4.2.orig.tar.gz
digest=e54ce8fe13adc5d747be7553513657fae78f796e0bd459e122c280cc06ce4daf

mkdir -p build/captures
cd build/captures
if [ -e "$archive" ] && echo "$digest  $archive" | sha256sum --check --quiet --status; then
    exit 0
fi
command -v apt-get >/dev/null || { echo "captures.sh: it takes Debian's apt-get" >&2; exit 1; }

# Lists of its own: what this machine's apt knows stays as it is.
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
mkdir -p "$lists/parts" "$lists/state/partial" "$lists/cache"
cat >"$lists/parts/debian.sources" <<END
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
apt() {
    apt-get -q -o Acquire::Retries=3 -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$lists/parts" \
        -o Dir::State::Lists="$lists/state" -o Dir::Cache="$lists/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update
apt source --download-only --tar-only "$package"
echo "$digest  $archive" | sha256sum --check --quiet
