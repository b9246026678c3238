#!/usr/bin/env bash
# Print the path of a Docker Compose of version 2, and get Debian's if there is none: compose files are read by the
# program that their users have, not by a parser of ours. It needs no Docker engine to read a file.
set -euo pipefail
cache=${CF_ORCH_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cf-orch-tests}
kept=$cache/docker-compose

is_second() { "$1" version --short 2>/dev/null | grep -q '^v\?[2-9]'; }

for found in "$(command -v docker-compose || true)" "$kept" \
    /usr/{libexec,local/lib,lib}/docker/cli-plugins/docker-compose; do
    if [ -x "$found" ] && is_second "$found"; then
        echo "$found"
        exit
    fi
done

# Debian 12 still has version 1, which its makers gave up. Debian 13's needs nothing but libc, so it is unpacked beside.
command -v apt-get >/dev/null || {
    echo "no Docker Compose of version 2 here, and no apt-get to get one: install it" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt-get -q update >&2
# shellcheck disable=SC2016 # apt-get fills it in
debian=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Component: main' | head -1)
mkdir -p "$work/lists/partial" "$cache"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $debian trixie main" >"$work/sources.list"
from_trixie=(-q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work" -o APT::Sandbox::User=root)
cd "$work"
apt-get "${from_trixie[@]}" update >&2
apt-get "${from_trixie[@]}" download docker-compose >&2
dpkg-deb --extract docker-compose_*.deb unpacked
install -m 755 unpacked/usr/libexec/docker/cli-plugins/docker-compose "$kept"
is_second "$kept"
echo "$kept"
