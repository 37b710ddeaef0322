"""How a sweep is laid out on a machine."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.sweeps.running import machine
from espalier.sweeps.running.machine import LANES_CPU, LANES_GPU, RaySession, allocate, check_address
from tests.sweeps.made import spec_with

BRANCHED = {"lr_exponent": {"low": -3, "high": 0}, "decay_points": {"branches": 4}}
AUTO = st.just("auto")


@st.composite
def specs(draw: Any) -> Any:
    resources = {
        "cpus": draw(AUTO | st.sampled_from([0.5, 1, 2])),
        "gpus": draw(AUTO | st.sampled_from([0, 0.25, 1])),
        "cohorts": draw(AUTO | st.integers(1, 9)),
        "lanes": draw(AUTO | st.integers(1, 200)),
    }
    space = BRANCHED | {"decay_points": {"branches": draw(st.integers(1, 8))}}
    search = {"sampler": draw(st.sampled_from(["tpe", "random", "qmc", "gp", "thaw"]))}
    numbers = {"trials": draw(st.integers(1, 5000)), "replicates": draw(st.integers(1, 5))}
    return spec_with(resources=resources, space=space, search=search, **numbers)


@given(specs(), st.integers(2, 64), st.integers(0, 8))
def test_any_sweep_is_laid_out_within_the_machine(spec: Any, cpus: int, gpus: int) -> None:
    try:
        allocation = allocate(spec, float(cpus), float(gpus))
    except BadInput as error:
        assert str(error).startswith("resources:")
        assert gpus < (spec.resources.gpus if spec.resources.gpus != "auto" else 1)
        return
    assert allocation.cohorts >= 1
    assert allocation.cohort_trials >= 1
    assert allocation.cohort_trials % spec.branches == 0
    assert allocation.lanes >= 1
    assert 0 < allocation.cpus <= cpus
    assert allocation.gpus <= gpus
    if spec.resources.lanes == "auto":
        assert allocation.lanes <= (LANES_GPU if allocation.gpus else LANES_CPU)
    else:
        assert allocation.lanes == spec.resources.lanes
    if spec.resources.cohorts != "auto":
        assert allocation.cohorts == spec.resources.cohorts


def test_a_cohort_gets_a_gpu_each_or_else_a_core_each() -> None:
    spec = spec_with(trials=512)
    assert (allocate(spec, 16, 2).cohorts, allocate(spec, 16, 2).gpus) == (2, 1)
    assert (allocate(spec, 16, 0).cohorts, allocate(spec, 16, 0).gpus) == (16, 0)
    assert allocate(spec, 16, 0).cpus == 1


def test_of_a_search_by_pieces_no_more_cohorts_begin_than_pieces_train_at_once() -> None:
    spec = spec_with(search={"sampler": "thaw"}, budget={"steps": 40, "trainings": 12})
    assert (allocate(spec, 2, 0).cohorts, allocate(spec, 2, 0).lanes) == (2, 3)
    assert (allocate(spec, 64, 0).cohorts, allocate(spec, 64, 0).lanes) == (6, 1)
    assert (allocate(spec, 64, 1).cohorts, allocate(spec, 64, 1).lanes) == (1, 6)


@pytest.mark.parametrize("decay_points", [None, {"low": 0.2, "high": 0.8, "step": 0.2, "branches": 4}])
def test_the_points_of_a_small_grid_lie_on_all_cores(decay_points: Any) -> None:
    space = {"lr_exponent": [-3, -1] if decay_points else list(range(-8, 0)), "decay_points": decay_points}
    spec = spec_with(space=space, search={"sampler": "grid"}, trials=32)
    assert (allocate(spec, 2, 0).cohorts, allocate(spec, 2, 0).cohort_trials) == (2, 4)
    assert (allocate(spec, 16, 0).cohorts, allocate(spec, 16, 0).cohort_trials) == (8, 1)


@pytest.mark.parametrize("resources", [{"cpus": 3}, {"gpus": 1}, {"gpus": 0.5, "cpus": 1}])
def test_a_cohort_that_does_not_fit_is_refused_with_what_there_is(resources: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=r"resources: .*there are 2 cpus and 0 gpus"):
        allocate(spec_with(resources=resources), 2, 0)


def test_a_budget_of_gpus_is_refused_where_none_train() -> None:
    spec = spec_with(budget={"steps": 40, "gpu_hours": 8})
    assert allocate(spec, 16, 2).gpus == 1
    with pytest.raises(BadInput, match=r"^budget.gpu_hours: this sweep trains on CPUs; write hours$"):
        allocate(spec, 16, 0)


def test_no_address_and_auto_are_not_looked_at() -> None:
    check_address(None)
    check_address("auto")


def test_an_address_where_something_listens_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        check_address(f"{host}:{port}")
        with pytest.raises(BadInput, match="Ray Client"):  # through which Tune would run elsewhere
            check_address(f"ray://{host}:{port}")


def test_an_address_of_the_shell_that_is_ray_clients_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    check_address(None)
    with pytest.raises(BadInput, match="Ray Client"):
        check_address("auto")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "nowhere.invalid:6379", "127.0.0.1:", ":1", "1:99999"])
def test_an_address_where_nothing_listens_is_refused(address: str) -> None:
    with pytest.raises(BadInput, match=f"--address {address}: no"):
        check_address(address)


LENIENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_AUTH_TOKEN": "",
    "RAY_AUTH_TOKEN_PATH": "/nowhere",
    "RAY_ENABLE_K8S_TOKEN_AUTH": "true",
    "RAY_ADDRESS": "127.0.0.1:1",
    "RAY_CLIENT_MODE": "1",
    "RAY_GCS_STORAGE": "redis",
    "RAY_REDIS_ADDRESS": "127.0.0.1:1",
    "RAY_USE_TLS": "1",
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": '{"runtime_env": {"working_dir": "/nowhere"}}',
    "RAY_RUNTIME_ENV_HOOK": "nothing.of.that.name",
    "TUNE_RESULT_DIR": "/nowhere",  # Tune raises a warning about it
    "TUNE_RESULT_BUFFER_LENGTH": "100",
    "RAY_AIR_LOCAL_CACHE_DIR": "/nowhere",
}
STRANGER = """
import os
from espalier.sweeps.running.machine import RaySession
with RaySession(None) as session:
    session.start()
    assert session.resources()[0] > 0
    import grpc, ray
    from ray.tune import Tuner, TuneConfig
    assert not [name for name in os.environ if name.startswith(("TUNE_RESULT", "RAY_AIR_LOCAL"))]
    address = ray.get_runtime_context().gcs_address
    for token in ("", "guess", os.environ["RAY_AUTH_TOKEN"]):
        metadata = [("authorization", f"Bearer {token}")] if token else []
        with grpc.insecure_channel(address) as channel:
            asking = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
            try:
                asking(b"", metadata=metadata, timeout=10)
                print("in")
            except grpc.RpcError as error:
                print(error.code().name)
"""


@pytest.mark.slow
def test_a_sweep_at_home_lets_no_stranger_in_whatever_the_shell_says() -> None:
    """A real Ray, asked as its own clients do: without a token, with a guess, and with the token."""
    environment = os.environ | LENIENT | {"PYTHONPATH": str(Path(machine.__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["UNAUTHENTICATED", "UNAUTHENTICATED", "in"], done.stdout + done.stderr


@pytest.mark.parametrize("text", ["{bad", "[1]", "null", '{"CPU": "4"}', '{"CPU": -1}', '{"CPU": NaN}', "[" * 100_000])
def test_resources_that_ray_cannot_start_with_are_told_on_a_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", text)
    with pytest.raises(BadInput, match=r"RAY_OVERRIDE_RESOURCES: .* is no JSON object of amounts; write .*CPU") as told:
        RaySession(None)
    assert "\n" not in str(told.value) and len(str(told.value)) < 500
    for good in ("", "{}", '{"CPU": 1, "memory": 2e9, "own": 0.5}'):
        monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", good)
        RaySession(None)
