#!/usr/bin/env bash
# Build the image in a bare Debian and run the compose files as they are, in a Docker engine of its own.
#
#     sudo tests/deploy/bare_root.sh [arguments for pytest]
#
# The base image that the recipe names is made here, by mmdebstrap, from Debian's packages, as debian:trixie-slim is.
# The engine has a socket, a folder and networks of its own and leaves the firewall alone; it is stopped in the end, and
# what it made is removed.  The bare Debian is kept for the next time.  Three minutes, then two.  It needs root; without
# a pytest in .venv, set PYTHON.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || {
    echo "bare_root.sh: it makes a root file system and starts a Docker engine: run it as root" >&2
    exit 1
}
cache=${CF_ORCH_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cf-orch-tests}
bare=$cache/debian-trixie-slim.tar
work=$(mktemp -d)
mkdir -p "$cache"

step() { printf '\n=== %s\n' "$*"; }

step "what it needs of the system"
missing=()
command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
command -v dockerd >/dev/null || missing+=(docker.io)
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
    # Debian 13 has the command in a package of its own.
    command -v docker >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -q docker-cli
fi
CF_ORCH_TEST_COMPOSE=$(tests/deploy/get_compose.sh)
export CF_ORCH_TEST_COMPOSE

step "a bare Debian"
if [ ! -e "$bare" ]; then
    apt-get -q update
    # shellcheck disable=SC2016 # apt-get fills it in
    debian=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Component: main' | head -1)
    # As in the slim images: no manuals, and no package kept after it was installed.
    mmdebstrap --variant=minbase --include=ca-certificates \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --aptopt='Dir::Cache::pkgcache ""' --aptopt='Dir::Cache::srcpkgcache ""' \
        --aptopt='Binary::apt::APT::Keep-Downloaded-Packages "false"' \
        --aptopt='DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; }' \
        trixie "$work/bare.tar" "$debian"
    mv "$work/bare.tar" "$bare"
fi

step "an engine"
export DOCKER_HOST=unix://$work/docker.sock DOCKER_CONFIG=$work/config DOCKER_BUILDKIT=0
dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/docker.pid" --host "$DOCKER_HOST" \
    --iptables=false --ip6tables=false --bridge=none >"$work/docker.log" 2>&1 &
engine=$!
stop_engine() {
    docker ps --all --quiet | xargs --no-run-if-empty docker rm --force >/dev/null || true
    docker network prune --force >/dev/null || true
    kill "$engine" || true
    wait "$engine" || true
    umount "$work"/exec/netns/* 2>/dev/null || true
    rm -rf "$work"
}
trap stop_engine EXIT
deadline=$((SECONDS + 60))
until docker info >/dev/null 2>&1; do
    if ! kill -0 "$engine" 2>/dev/null || [ $SECONDS -ge $deadline ]; then
        tail -5 "$work/docker.log" >&2
        echo "bare_root.sh: no Docker engine can be started here" >&2
        exit 1
    fi
    sleep 0.2
done
docker version --format 'Docker {{.Server.Version}}'

step "the base image"
# With what this machine's package clients are told: certificates, where the packages are, how to get there.
mkdir -p "$work/base/etc/ssl" "$work/base/etc/apt/apt.conf.d"
cp --recursive --dereference /etc/ssl/certs "$work/base/etc/ssl/"
[ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$work/base/etc/"
grep -hs '^Acquire::' /etc/apt/apt.conf.d/* >"$work/base/etc/apt/apt.conf.d/99-as-on-this-machine" || true
docker import "$bare" bare >/dev/null
printf 'FROM bare\nCOPY . /\n' >"$work/base.Dockerfile"
docker build --quiet --tag debian:trixie-slim --file "$work/base.Dockerfile" "$work/base"

step "the image, by its recipe"
docker build --network host --build-arg http_proxy --build-arg https_proxy --build-arg no_proxy \
    --tag cf-orch --file deploy/Dockerfile . >"$work/build.log" 2>&1 || {
    tail -40 "$work/build.log" >&2
    exit 1
}
docker image ls cf-orch

step "the compose files, as they are"
"${PYTHON:-.venv/bin/python}" -m pytest -p no:cacheprovider tests/deploy/in_engine.py "$@"
