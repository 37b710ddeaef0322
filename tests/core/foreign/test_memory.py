"""The memory of trials that are processes: what they took at most, with all that they started, and of a GPU."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from espalier.core.foreign import report
from espalier.core.foreign.capacity import machine_bytes
from espalier.core.foreign.folder import TrialFolder
from espalier.core.measures.verdicts import OUT_OF_MEMORY
from espalier.core.training.events import Parked
from espalier.core.training.memory import Memory
from tests.core.foreign.made import assignment, command_cohort, end_of, ends, function_cohort, train

MIB = 1 << 20
PYTHON = 60 * MIB  # of a process that imports little


def test_the_memory_of_a_trial_is_that_of_all_its_processes_together(tmp_path: Path) -> None:
    source = """
        import os, subprocess, sys, time
        more = [subprocess.Popen([sys.executable, "-c", "import time; x = b'x' * (80 << 20); time.sleep(1.2)"])] * 2
        more[1] = subprocess.Popen(more[0].args)
        x = b"x" * (40 << 20)
        for each in more:
            each.wait()
        print('{"step": 1, "valid_loss": 0.5}')
    """
    end = end_of(command_cohort(tmp_path, source, [assignment("0/0")]))
    assert 200 * MIB <= end.memory["main"] <= 200 * MIB + 3 * PYTHON


def test_what_a_process_takes_between_two_looks_counts(tmp_path: Path) -> None:
    source = "x = b'x' * (150 << 20)\ndel x\nprint('{\"step\": 1, \"valid_loss\": 0.5}')\n"
    end = end_of(command_cohort(tmp_path, source, [assignment("0/0")]))
    assert 150 * MIB <= end.memory["main"] <= 150 * MIB + PYTHON


def test_what_processes_share_counts_once(tmp_path: Path) -> None:
    source = """
        import os, time
        x = b"x" * (120 << 20)
        for _ in range(3):
            if not os.fork():
                time.sleep(1.2)
                os._exit(0)
        for _ in range(3):
            os.wait()
        print('{"step": 1, "valid_loss": 0.5}')
    """
    end = end_of(command_cohort(tmp_path, source, [assignment("0/0")]))
    assert 120 * MIB <= end.memory["main"] <= 120 * MIB + PYTHON


def test_a_trial_in_pieces_has_the_most_of_them(tmp_path: Path) -> None:
    source = """
        def train(config, report):
            x = b"x" * ((200 << 20) if report.start == 0 else 1)
            (report.checkpoint / "x").touch()
            report(20 if report.start == 0 else 40, valid_loss=1.0)
    """
    (parked,) = (
        e for e in train(function_cohort(tmp_path, source, [assignment("0/0", until=20)])) if type(e) is Parked
    )
    assert parked.so_far
    end = end_of(function_cohort(tmp_path, source, [assignment("0/0")]))
    assert end.memory["main"] == parked.so_far.memory["main"] >= 200 * MIB
    again = ends(train(function_cohort(tmp_path, source, [assignment("0/0")])))["0/0"]
    assert again.memory == end.memory, "told again"


def test_a_trial_that_got_no_memory_says_what_it_took(tmp_path: Path) -> None:
    source = "def train(config, report):\n    x = b'x' * (300 << 20)\n    raise MemoryError('asked for 8 TB')\n"
    end = end_of(function_cohort(tmp_path, source, [assignment("0/0")]))
    assert end.verdict == OUT_OF_MEMORY
    before, _, took = end.evidence.partition("; it took ")
    assert before.startswith("out of memory: MemoryError: asked for 8 TB")
    assert took.endswith(" MiB") and int(took.split()[0]) >= 300


# --- GPUs, of which there is none here: torch is a stand-in -----------------------------------------------------------


def cuda(**changed: object) -> SimpleNamespace:
    """Return torch.cuda with two GPUs of 80 GiB."""
    known = {
        "is_initialized": lambda: True,
        "device_count": lambda: 2,
        "max_memory_reserved": lambda k: [3 << 30, 5 << 30][k],
        "get_device_properties": lambda _: SimpleNamespace(total_memory=80 << 30),
    }
    return SimpleNamespace(cuda=SimpleNamespace(**known | changed))


def test_a_report_has_what_torch_took_of_the_gpu_that_it_took_most_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", cuda())
    folder = TrialFolder(tmp_path / "0-0")
    folder.assign(assignment("0/0"))
    report.Report(folder.path)(10, valid_loss=1.0)
    assert folder.lines()[0].get("gpu") == [5 << 30, 80 << 30]


def fail(_: int) -> int:
    raise RuntimeError("CUDA error: device-side assert triggered")


@pytest.mark.parametrize(
    "torch",
    [
        None,
        SimpleNamespace(),
        cuda(is_initialized=lambda: False),
        cuda(max_memory_reserved=lambda k: 0),
        cuda(device_count=lambda: 0),
        cuda(max_memory_reserved=fail),
    ],
)
def test_where_no_gpu_is_used_a_report_has_nothing_of_it(torch: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert report.gpu_memory() == {}


def test_the_gpu_of_a_trial_is_known_at_its_end(tmp_path: Path) -> None:
    lines = [
        {"step": step, "values": {"valid_loss": 1.0}, "gpu": [gib << 30, 80 << 30]} for step, gib in ((10, 5), (40, 3))
    ]
    body = "\n".join(f"    report._folder.append({line!r})" for line in lines)
    end = end_of(function_cohort(tmp_path, f"def train(config, report):\n{body}\n", [assignment("0/0")]))
    assert Memory(**end.memory).gpu == 5 << 30 and Memory(**end.memory).gpu_total == 80 << 30


# --- the machine -----------------------------------------------------------------------------------------------------


def machine(root: Path, groups: str, **files: str) -> int:
    """Return the memory of a machine of 64 GiB. files: of limits, with "__" for "/"."""
    for name, text in ({"proc/meminfo": f"MemTotal: {64 << 20} kB\n", "proc/self/cgroup": groups} | files).items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return machine_bytes(root)


def test_a_cgroup_bounds_the_memory_of_a_machine(tmp_path: Path) -> None:
    v2, v1 = "0::/kube/pod\n", "9:cpu:/x\n4:memory:/kube/pod\n0::/\n"
    assert machine(tmp_path / "a", v2) == 64 << 30
    assert machine(tmp_path / "b", v2, **{"sys/fs/cgroup/kube/pod/memory.max": "max\n"}) == 64 << 30
    limits = {"sys/fs/cgroup/kube/memory.max": f"{8 << 30}\n", "sys/fs/cgroup/kube/pod/memory.max": f"{9 << 30}\n"}
    assert machine(tmp_path / "c", v2, **limits) == 8 << 30
    assert machine(tmp_path / "d", v1, **{"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 << 30}\n"}) == 4 << 30
    assert machine_bytes(tmp_path / "none") == 0


def test_this_machine_has_memory() -> None:
    assert 1 << 28 < machine_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 1.1
