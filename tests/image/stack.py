"""The laptop's pods in the image: each has the command, variables and folders of its manifest, and its own address.

    python -m tests.image.stack IMAGE FOLDER ENGINE...     ENGINE: the words of podman that come before `run`

PostgreSQL is this machine's; the rest is as in the cluster, but for the kubelet and the network policies: the script
of the databases, the migration, MLflow behind its login, Ray's head and a worker with the token, the service and its
first token. Then a sweep is handed in over HTTP. As root on Linux: every pod has a network namespace on a bridge.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from tests.k8s.conftest import kubectl
from tests.k8s.pods import ROOT, Object, Pod, named, of_kind, pods, ray_clusters

ENGINE = ("--runtime=runc", "--ulimit=nofile=16384:16384", "--ulimit=nproc=16384:16384", "--no-healthcheck")
BRIDGE, NET = "br-espalier", "10.77.0"
ADDRESSES = {"postgres": 1, "mlflow": 11, "api": 12, "migrate": 13, "headgroup": 14, "cpu": 15}
HOSTS = {"postgres": "postgres", "mlflow": "mlflow", "espalier-head-svc": "headgroup"}  # Services and whom they lead to
SPEC = {"name": "warm", "task": "espalier.core.tasks.thermometer:Thermometer", "budget": {"steps": 200}, "trials": 4}
SPEC |= {"space": {"lr_exponent": {"low": -3, "high": -2}}}


def call(*command: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
    """Run a command; its output is shown if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **how)  # pyright: ignore
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done


@contextlib.contextmanager
def network() -> Iterator[None]:
    """A bridge, and a namespace for each pod; all gone afterwards."""
    call("ip", "link", "add", BRIDGE, "type", "bridge")
    try:
        call("ip", "addr", "add", f"{NET}.1/24", "dev", BRIDGE)
        call("ip", "link", "set", BRIDGE, "up")
        for name, last in list(ADDRESSES.items())[1:]:
            space, link = f"espalier-{name}", f"ve-{name}"
            call("ip", "netns", "add", space)
            call("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            call("ip", "link", "set", link, "master", BRIDGE, "up")
            call("ip", "-n", space, "addr", "add", f"{NET}.{last}/24", "dev", "eth0")
            call("ip", "-n", space, "link", "set", "eth0", "up")
            call("ip", "-n", space, "link", "set", "lo", "up")
            call("ip", "-n", space, "route", "add", "default", "via", f"{NET}.1")  # Ray finds its address by it
        yield
    finally:
        for name in list(ADDRESSES)[1:]:
            subprocess.run(["ip", "netns", "del", f"espalier-{name}"], capture_output=True)
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)


@contextlib.contextmanager
def postgres(folder: Path, password: str) -> Iterator[None]:
    """This machine's PostgreSQL, at the address of the Service."""
    place = folder / "postgres"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "password").write_text(password)
    call("chown", "-R", "postgres", place)
    for parent in place.parents:  # it must reach its folder
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    run = ("runuser", "-u", "postgres", "--")
    call(
        *run,
        "initdb",
        "-D",
        place / "data",
        "-U",
        "postgres",
        "-A",
        "scram-sha-256",
        f"--pwfile={place}/password",
        cwd=place,
    )
    (place / "data/pg_hba.conf").write_text("host all all 10.77.0.0/24 scram-sha-256\n")
    options = f"-p 5432 -k {place} -c listen_addresses={NET}.1 -c fsync=off -c max_connections=200"
    call(*run, "pg_ctl", "-D", place / "data", "-w", "-o", options, "-l", place / "log", "start", cwd=place)
    try:
        yield
    finally:
        call(*run, "pg_ctl", "-D", place / "data", "-m", "immediate", "stop", cwd=place)


class Stack:
    """Containers made of manifests."""

    def __init__(
        self, image: str, folder: Path, engine: Sequence[str], objects: Sequence[Object], keys: Mapping[str, str]
    ):
        self.image, self.folder, self.engine, self.objects, self.keys = image, folder, engine, objects, keys
        self.settings = {it["metadata"]["name"]: it["data"] for it in of_kind(objects, "ConfigMap")}
        self.started: list[str] = []

    def variables(self, container: Object) -> dict[str, str]:
        """The container's variables, as the kubelet works them out."""
        found: dict[str, str] = {}
        for it in container.get("env", ()):
            source = it.get("valueFrom", {})
            if "secretKeyRef" in source:
                found[it["name"]] = self.keys[source["secretKeyRef"]["key"]]
            elif "configMapKeyRef" in source:
                found[it["name"]] = self.settings[source["configMapKeyRef"]["name"]][source["configMapKeyRef"]["key"]]
            else:
                found[it["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], it["value"])
        return found

    def folders(self, pod: Pod, container: Object) -> Iterator[str]:
        """The container's volumes, as options of podman; a claim's folder is everyone's."""
        volumes = {it["name"]: it for it in pod.spec["volumes"]}
        for mount in container["volumeMounts"]:
            claim = volumes[mount["name"]].get("persistentVolumeClaim", {}).get("claimName")
            place = (
                self.folder
                / "volumes"
                / (claim or f"{pod.name.replace('/', '-')}-{mount['name']}")
                / mount.get("subPath", "")
            )
            place.mkdir(parents=True, exist_ok=True)
            os.chown(place, 10001, 10001)
            yield f"--volume={place}:{mount['mountPath']}"

    def run(
        self, pod: Pod, container: Object, command: Sequence[str] = (), more: Mapping[str, str] = {}, stay: bool = False
    ) -> str:
        """Run a container of a pod; return its name if it stays, else what it said."""
        kind = pod.name.removeprefix("espalier/")
        name = f"espalier-{kind}-{container['name']}"
        words = ["--name", name, *(["--detach"] if stay else ["--rm"])]
        words += [f"--network=ns:/run/netns/espalier-{kind}", "--shm-size=600m", "--no-hosts", "--dns=127.0.0.1"]
        words += [f"--env={key}={value}" for key, value in (self.variables(container) | more).items()]
        hosts = self.folder / f"hosts-{kind}"
        own = f"127.0.0.1 localhost\n{NET}.{ADDRESSES[kind]} {kind}\n"
        words.append(f"--hostname={kind}")
        hosts.write_text(own + "".join(f"{NET}.{ADDRESSES[to]} {it}\n" for it, to in HOSTS.items()))
        words += [f"--volume={hosts}:/etc/hosts:ro", *self.folders(pod, container)]
        entry = list(command) or container.get("command", ["sweep"])
        rest = [] if command else container.get("args", [])
        words += ["--read-only", "--read-only-tmpfs=false", "--user=10001:10001", "--cap-drop=all"]
        words += ["--security-opt=no-new-privileges", f"--entrypoint={json.dumps(entry)}", self.image, *rest]
        print(f"== {kind}: {' '.join([*entry, *rest])[:110]}", flush=True)
        if stay:
            self.started.append(name)
        said = call(*self.engine, "run", *ENGINE, *words)
        return name if stay else said.stdout

    def stop(self) -> None:
        """Stop every container."""
        for name in reversed(self.started):
            subprocess.run([*self.engine, "rm", "--force", "--time", "5", name], capture_output=True)

    def wait(self, name: str, url: str, limit_s: float = 240) -> None:
        """Wait until an address answers."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                print(url, "answers", flush=True)
                return
            if name not in call(*self.engine, "ps", "--format", "{{.Names}}").stdout.split():
                break
            time.sleep(2)
        said = call(*self.engine, "logs", "--tail", "40", name)
        raise SystemExit(f"{url} does not answer\n{said.stdout}{said.stderr}")


def ray_start(kind: str, group: Object) -> list[str]:
    """The command that KubeRay makes of a group."""
    cores = group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
    options = {"num-cpus": cores, "metrics-export-port": "8080", "dashboard-agent-listen-port": "52365"}
    own = {"dashboard-host": "0.0.0.0"} if kind == "head" else {"address": "espalier-head-svc:6379"}
    words = [f"--{key}={value}" for key, value in {**options, **own, **group["rayStartParams"]}.items()]
    head = "--head --no-monitor" if kind == "head" else ""
    return ["/bin/bash", "-c", "--", f"ulimit -n 65536; ray start {head} {' '.join(words)} --block"]


def asked(url: str, token: str = "", body: object = None) -> tuple[int, str]:
    """The status and text of an answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def try_all(stack: Stack) -> None:
    """Start everything in order and run a sweep."""
    pod = {it.name: it for it in pods(stack.objects)}
    env = {
        f"{name.upper()}_PASSWORD".replace("-", "_"): stack.keys[f"{name}-password"]
        for name in ("service", "search", "mlflow-db")
    }
    env |= {"PGHOST": f"{NET}.1", "PGPASSWORD": stack.keys["postgres-password"]}
    call("bash", ROOT / "k8s/base/postgres/databases.sh", env={**os.environ, **env})

    (migrate,) = pod["migrate"].spec["containers"]
    print(stack.run(pod["migrate"], migrate))
    mlflow = pod["mlflow"]
    stack.run(mlflow, mlflow.spec["initContainers"][0])
    name = stack.run(mlflow, mlflow.spec["containers"][0], stay=True)

    ((_, cluster),) = ray_clusters(stack.objects)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": stack.keys["auth_token"]}
    head, (cpu,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    container = pod["espalier/headgroup"].spec["containers"][0]
    lead = stack.run(
        pod["espalier/headgroup"], container, ray_start("head", head), token | {"RAY_ADDRESS": "127.0.0.1:6379"}, True
    )
    stack.wait(lead, f"http://{NET}.{ADDRESSES['headgroup']}:52365/api/healthz")
    container = pod["espalier/cpu"].spec["containers"][0]
    more = token | {"RAY_ADDRESS": "espalier-head-svc:6379"}
    worker = stack.run(pod["espalier/cpu"], container, ray_start("worker", cpu), more, True)
    stack.wait(worker, f"http://{NET}.{ADDRESSES['cpu']}:52365/api/healthz")
    stack.wait(name, f"http://{NET}.{ADDRESSES['mlflow']}:5000/health")

    api = pod["api"]
    upgrade, first = api.spec["initContainers"]
    stack.run(api, upgrade)
    waiting = stack.run(api, first, stay=True)
    words = ("sweep", "token", "create", "--owner", "stack", "--role", "admin")
    bearer = call(*stack.engine, "exec", waiting, *words).stdout.split()[-1]
    call(*stack.engine, "wait", waiting, timeout=60)
    service = stack.run(api, api.spec["containers"][0], stay=True)
    base = f"http://{NET}.{ADDRESSES['api']}:8080"
    stack.wait(service, f"{base}/healthz")
    stack.wait(service, f"{base}/readyz")
    assert asked(f"{base}/v1/sweeps")[0] == 401
    status, text = asked(f"{base}/v1/sweeps", bearer, SPEC)
    print(status, text)
    sweep = json.loads(text)["id"]
    for _ in range(150):
        found = json.loads(asked(f"{base}/v1/sweeps/{sweep}", bearer)[1])
        if found["state"] in ("finished", "failed", "stopped"):
            break
        time.sleep(2)
    print(json.dumps(found)[:600])
    if found["state"] != "finished":
        raise SystemExit(asked(f"{base}/v1/sweeps/{sweep}/logs", bearer)[1][-3000:])
    count = "SELECT count(*) FROM runs"
    command = ["psql", "-At", "-h", f"{NET}.1", "-U", "mlflow", "-d", "mlflow", "-c", count]
    runs = call(*command, env={**os.environ, "PGPASSWORD": stack.keys["mlflow-db-password"]}).stdout.strip()
    print(f"{runs} runs in MLflow's database")
    assert int(runs) == SPEC["trials"] + 1


def main(image: str, folder: Path, engine: Sequence[str]) -> None:
    """Build the manifests, and try."""
    built = call(kubectl() or "kubectl", "kustomize", ROOT / "k8s/overlays/laptop").stdout
    objects = list(yaml.safe_load_all(built))
    assert named(objects, "RayCluster", "espalier")
    (words,) = re.findall(r"for key in ([^;]+);", (ROOT / "k8s/README.md").read_text())
    keys = {key: secrets.token_hex(24) for key in words.split()}
    shutil.rmtree(folder / "volumes", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(image, folder, engine, objects, keys)
    with network(), postgres(folder, keys["postgres-password"]):
        try:
            try_all(stack)
        finally:
            stack.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
