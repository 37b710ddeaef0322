#!/usr/bin/env bash
# Builds the image without a container engine's daemon, on a stand-in for its base, and runs it as Kubernetes would: root file system
# read-only, uid 10001, no capabilities. What that proves, and what not: k8s/README.md, "The image".
#
# As root on Debian: apt-get install buildah podman runc debootstrap. Needs 12 GiB of disk and some minutes; IMAGE_TEST_FOLDER keeps
# the stand-in and the layers between runs. Packages come from the mirror that apt uses here, or from DEBIAN_MIRROR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for tool in buildah podman runc debootstrap; do
    command -v "$tool" > /dev/null || { echo "needs $tool: apt-get install buildah podman runc debootstrap" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "needs root: debootstrap and chroot" >&2; exit 2; }

work=${IMAGE_TEST_FOLDER:-$(mktemp --directory)}
mkdir -p "$work"
storage=(--root "$work/storage" --runroot "$work/run" --storage-driver "${STORAGE_DRIVER:-overlay}")
engine=(--runtime runc --network none --ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" --ulimit nproc=16384:16384 --no-healthcheck)
podman_() { podman "${storage[@]}" --cgroup-manager cgroupfs "$@"; }
containers=()
cleanup() {
    for name in "${containers[@]}"; do podman_ rm --force --time 5 "$name" > /dev/null 2>&1 || true; done
    podman_ umount --all > /dev/null 2>&1 || true
    umount "$work/storage/overlay" 2> /dev/null || true
    if [ -z "${IMAGE_TEST_FOLDER:-}" ]; then rm -rf --one-file-system "$work"; fi
}
trap cleanup EXIT
said() { printf '\n== %s\n' "$*"; }

# --- a base that carries the real one's tag ------------------------------------------------------------------------
python=$(sed -n 's/^ARG PYTHON=//p' Dockerfile)
base=localhost/python:$python-slim-bookworm # what `FROM python:...` finds first, so that no registry is asked
if ! buildah "${storage[@]}" inspect --type image "$base" > /dev/null 2>&1; then
    mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2> /dev/null | head -n 1)}
    [ -n "$mirror" ] || { echo "apt names no mirror on this machine: set DEBIAN_MIRROR to the address of one" >&2; exit 2; }
    said "a stand-in for $base: Debian's own Python $(sed 's/\.[0-9]*$//' <<< "$python")"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip,libpython3.11-dev \
        bookworm "$work/base" "$mirror" > "$work/debootstrap.log" \
        || { tail -20 "$work/debootstrap.log" >&2; exit 1; }
    ln -s python3 "$work/base/usr/bin/python"
    rm -f "$work"/base/usr/lib/python3*/EXTERNALLY-MANAGED
    container=$(buildah "${storage[@]}" from scratch)
    buildah "${storage[@]}" add --quiet "$container" "$work/base" / > /dev/null
    buildah "${storage[@]}" commit --quiet --rm "$container" "$base" > /dev/null
    rm -rf "$work/base"
fi

# --- pip as it is configured here: its settings as a secret, the files they name as volumes -------------------------
volumes=()
{
    echo "[global]"
    python3 -m pip config list | sed -nE "s/^(global|user|site|:env:)\.([a-z-]+)='(.*)'$/\2 = \3/p" | sort --unique --field-separator== --key=1,1
} > "$work/pip.conf"
while read -r path; do
    if [ -e "$path" ]; then volumes+=(--volume "$path:$path:ro"); fi
done < <(sed 's/^[a-z-]* = //' "$work/pip.conf" | tr ' ' '\n' | sed 's,^file://,,' | grep '^/' | sed 's,/simple/\?$,,' | sort --unique) # a local index lies beside its files

# --- the build --------------------------------------------------------------------------------------------------------
image=localhost/espalier:$(sed -n 's/^ARG VERSION=//p' Dockerfile)
said "the build of $image"
buildah "${storage[@]}" build --isolation chroot --format docker --layers --pull-never \
    --build-arg "REVISION=$(git rev-parse HEAD 2> /dev/null || true)" \
    --secret "id=pip.conf,src=$work/pip.conf" "${volumes[@]}" --tag "$image" . > "$work/build.log" 2>&1 \
    || { tail -40 "$work/build.log" >&2; exit 1; }
podman_ images "$image"
podman_ inspect --format '{{json .Labels}} user {{.User}}' "$image"
podman_ run "${engine[@]}" --rm --entrypoint "" "$image" sh -c \
    '! find / -xdev -name pip.conf -size +0 2> /dev/null | grep .' || { echo "the build's secret is in the image" >&2; exit 1; }

# --- the runs: as a restricted pod --------------------------------------------------------------------------------------
restricted=("${engine[@]}" --read-only --read-only-tmpfs=false --user 10001:10001
    --cap-drop all --security-opt no-new-privileges --shm-size 512m
    --volume "$work/home:/home/espalier" --volume "$work/tmp:/tmp" --volume "$work/sweeps:/var/lib/espalier")
fresh() {
    rm -rf "$work/home" "$work/tmp" "$work/sweeps"
    install --directory --owner=10001 --group=10001 "$work/home" "$work/tmp" "$work/sweeps"
}
inside() { podman_ run --rm "${restricted[@]}" "$@"; }
start() { # NAME ARGUMENTS: a container that stays
    containers+=("$1")
    podman_ run --detach --name "$1" "${restricted[@]}" "${@:2}" > /dev/null
}
answers() { # NAME URL: wait until it does, asked from within
    for _ in $(seq 60); do
        if podman_ exec "$1" python -c "import urllib.request as u; u.urlopen('$2', timeout=3).read()" 2> /dev/null; then
            echo "$2 answers"
            return
        fi
        sleep 2
    done
    podman_ logs --tail 30 "$1" >&2
    echo "$2 does not answer" >&2
    return 1
}
fresh

said "the root file system is read-only, the volumes are not"
inside --entrypoint "" "$image" bash -c '
    id
    if touch /opt/venv/x 2> /dev/null; then echo "/opt/venv can be written" >&2; exit 1; fi
    touch /tmp/x "$HOME/x" "$SWEEP_HOME/x"'

said "versions are those of constraints.txt"
inside --interactive --entrypoint "" --volume "$PWD/constraints.txt:/constraints.txt:ro" "$image" python - <<'PYTHON'
import importlib.metadata, re
canonical = lambda name: re.sub(r"[-_.]+", "-", name).lower()
pins = dict(line.strip().split("==") for line in open("/constraints.txt") if "==" in line and not line.startswith("#"))
pins = {canonical(name): version for name, version in pins.items()}
there = {canonical(it.metadata["Name"]): it.version.partition("+")[0] for it in importlib.metadata.distributions()}
wrong = {name: version for name, version in there.items() if pins.get(name, version) != version}
assert not wrong, wrong
print(len(there), "packages;", sorted(set(there) - set(pins)), "have no pin")
PYTHON

said "sweep --help"
inside "$image" --help | head -3

said "g++ makes a kernel"
inside --entrypoint "" "$image" python -c "import torch; print(torch.compile(lambda x: x.sin() + 1)(torch.ones(5)))"

said "a sweep of two trials"
inside "$image" run thermometer --set trials=2 --set budget.steps=40 | tail -4

said "Ray's head as KubeRay starts it; its probe needs no token, its jobs do"
token=0123456789abcdef0123456789abcdef
start espalier-image-test-head --env RAY_AUTH_MODE=token --env RAY_AUTH_TOKEN=$token --entrypoint "" "$image" \
    /bin/bash -c -- "ulimit -n 65536; ray start --head --block --num-cpus=0 --dashboard-host=0.0.0.0"
answers espalier-image-test-head http://127.0.0.1:52365/api/healthz
answers espalier-image-test-head http://127.0.0.1:8265/api/gcs_healthz
podman_ exec --interactive espalier-image-test-head python - <<'PYTHON'
import os, urllib.error, urllib.request
def status(token):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8265/api/jobs/", headers=headers), timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
found = [status(token) for token in ("", "wrong", os.environ["RAY_AUTH_TOKEN"])]
print("jobs without a token, with a wrong one, with ours:", found)
assert found == [401, 403, 200], found
PYTHON
podman_ rm --force --time 5 espalier-image-test-head > /dev/null

if inside "$image" serve --help > "$work/serve.txt" 2>&1; then
    said "sweep db upgrade, sweep token create, sweep serve"
    inside "$image" db upgrade
    inside "$image" token create --owner image-test --role admin --days 1 > /dev/null
    said "beyond loopback it wants PostgreSQL or a cluster: a job could open the tokens' database"
    if inside "$image" > "$work/refused.txt" 2>&1; then cat "$work/refused.txt"; echo "it serves" >&2; exit 1; fi
    grep SWEEP_DATABASE_URL "$work/refused.txt"
    start espalier-image-test-api "$image" serve --host 127.0.0.1 --port 8080
    answers espalier-image-test-api http://127.0.0.1:8080/healthz
    answers espalier-image-test-api http://127.0.0.1:8080/readyz
    mapfile -t check < <(podman_ inspect --format '{{json .HealthCheck.Test}}' "$image" \
        | python3 -c "import json, sys; print(*json.load(sys.stdin)[1:], sep='\n')")
    podman_ exec espalier-image-test-api "${check[@]}" && echo "the image's own health check passes"
else
    cat "$work/serve.txt"
    echo "without sweep serve: the API was not tried" >&2
    exit 1
fi
stack=${STACK_PYTHON:-.venv/bin/python}
if [ -x "$stack" ] && command -v initdb > /dev/null; then
    said "the laptop's pods, each with an address: the whole service, and a sweep handed in"
    "$stack" -m tests.image.stack "$image" "$work/stack" podman "${storage[@]}" --cgroup-manager cgroupfs
else
    echo "without $stack and PostgreSQL's initdb the pods were not tried together" >&2
fi
said "all is well"
