"""Two Ray nodes on one machine: cohorts train on both, and one may die."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import espalier as es
from tests.hostile.endings import check_the_end
from tests.hostile.harness import REPOSITORY, Command, Sweep
from tests.hostile.processes import Process, descendants, wait_until

pytestmark = [pytest.mark.hostile, pytest.mark.cluster]

NODES = """
import json, sys
from ray.cluster_utils import Cluster

cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.2", "include_dashboard": False}
)
other = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.3")
print(json.dumps({"address": cluster.address, "nodes": [cluster.head_node.node_id, other.node_id]}), flush=True)
for line in sys.stdin:  # one line: the second node dies
    cluster.remove_node(other, allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""


class Nodes:
    """A cluster in a process of its own."""

    def __init__(self, folder: Path):
        with open(folder / "cluster.txt", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", NODES],
                cwd=REPOSITORY,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout
        told = self.process.stdout.readline()
        assert told, (folder / "cluster.txt").read_text()
        found = json.loads(told)
        self.address, self.nodes = found["address"], set(found["nodes"])

    def lose_one(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def clean_up(self) -> None:
        below: list[Process] = descendants(self.process.pid)
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        for process in below:
            process.kill()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Two nodes of one CPU each."""
    cluster = Nodes(tmp_path)
    yield cluster
    cluster.clean_up()


STOPPING = {"rungs": [0.2, 0.6], "least": 2}


@pytest.mark.slow
@pytest.mark.parametrize("stopping", [STOPPING, None], ids=["halved", "whole"])
def test_cohorts_train_on_both_nodes_of_a_cluster(
    make_sweep: Callable[..., Sweep], nodes: Nodes, stopping: dict[str, object] | None
) -> None:
    assert len(nodes.nodes) == 2
    sweep = make_sweep(stopping=stopping) if stopping else make_sweep()
    sweep.run("--address", nodes.address).document()
    assert sweep.nodes() == nodes.nodes
    check_the_end(sweep)


@pytest.mark.slow
def test_the_cohort_of_a_node_that_dies_goes_on_elsewhere(make_sweep: Callable[..., Sweep], nodes: Nodes) -> None:
    sweep = make_sweep()
    driver = sweep.run("--address", nodes.address)
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    nodes.lose_one()
    driver.document()
    check_the_end(sweep)


@pytest.mark.slow
def test_a_killed_driver_leaves_no_worker_in_the_cluster_and_is_resumed_there(sweep: Sweep, nodes: Nodes) -> None:
    driver = sweep.run("--address", nodes.address)
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    workers = [p for p in descendants(nodes.process.pid) if p.title.startswith("ray::") and "Trainable" in p.title]
    assert workers
    driver.kill()
    wait_until(lambda: not any(worker.alive for worker in workers), "its workers left the cluster")
    sweep.resume("--address", nodes.address).document()
    check_the_end(sweep)


SPREAD = """
    import ray
    import torch
    import torch.distributed as dist

    def train(config, report):
        held = b"x" * (400 << 20)
        weight = torch.zeros(1, requires_grad=True)
        for step in range(1, config.steps + 1):
            loss = (weight - dist.get_rank()).square().sum()
            (gradient,) = torch.autograd.grad(loss, weight)
            dist.all_reduce(gradient)
            weight = (weight - config.lr * gradient).detach().requires_grad_()
            if report.due(step):
                report(step, valid_loss=(weight - 0.5).square().item())
        print("node", ray.get_runtime_context().get_node_id())
"""


@pytest.mark.slow
def test_the_workers_of_one_trial_train_on_both_nodes(tmp_path: Path, nodes: Nodes) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(SPREAD))
    spec = {
        "name": "spread",
        "function": "train.py:train",
        "budget": {"steps": 40},
        "space": {"lr": {"low": 0.01, "high": 0.2, "log": True}},
        "trials": 2,
        "resources": {"workers": 2},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    place = tmp_path / "command"
    place.mkdir()
    words = ["run", "sweep.yaml", "--home", str(tmp_path / "home"), "--json", "--address", nodes.address]
    summary = Command(words, place, tmp_path).document()
    assert summary["states"] == {"complete": 2}, summary
    for output in tmp_path.glob("home/sweeps/*/trials/*/output.log"):
        where = {line.split()[1] for line in output.read_text().splitlines() if line.startswith("node ")}
        assert where == nodes.nodes
    taken = [trial.memory.main >> 20 for trial in es.open("spread", home=tmp_path / "home").trials]
    assert all(2 * (400 + 150) < each < 2 * (400 + 900) for each in taken), f"{taken} MiB: both workers, each once"
