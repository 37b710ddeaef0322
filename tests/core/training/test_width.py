"""The knee of the width: measured, cached_width, and never beyond what was asked for or what fits."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.optimizers import SGD
from espalier.core.programs import PROGRAMS
from espalier.core.task import Task
from espalier.core.training import width
from espalier.core.training.trial import Structure
from espalier.core.training.width import Limits, Width, knee

STRUCTURE = Structure(SGD(), "step", 7)


@given(st.dictionaries(st.sampled_from([2, 4, 8, 16, 32]), st.floats(1, 1e6), min_size=1))
def test_the_knee_is_as_fast_as_any_width_but_for_the_gain_and_faster_than_narrower_ones(
    us: Mapping[int, float],
) -> None:
    found = knee(us)
    assert us[found] * (1 - width.GAIN) <= min(us.values())
    assert all(us[found] < us[narrower] for narrower in us if narrower < found)


@pytest.mark.parametrize(
    ("us", "bounded", "most", "lanes"),
    [
        ({2: 100, 4: 50, 8: 49}, False, 64, 4),  # the knee was seen
        ({2: 100, 4: 50, 8: 49}, False, 3, 3),
        ({2: 100, 4: 50, 8: 25}, False, 12, 12),  # faster to the end of what was asked for
        ({2: 100, 4: 50, 8: 25}, False, 16, None),  # sixteen were not measured
        ({2: 100, 4: 50, 8: 25}, True, 64, 8),  # no more fit
        ({2: 100}, False, 1, 1),
    ],
)
def test_what_follows_from_a_measurement(us: dict[int, float], bounded: bool, most: int, lanes: int | None) -> None:
    assert Width(us, 200.0, bounded).lanes(most) == lanes


def test_lanes_train_alone_only_where_that_is_clearly_faster() -> None:
    us = {2: 100.0, 4: 60.0}
    assert Width(us, 40.0).alone
    assert not Width(us, 55.0).alone


def measured(task: Task, most: int, call: Any = width.measure, **more: Any) -> Width:
    programs = [PROGRAMS[kind](task, STRUCTURE.optimizer) for kind in ("vmap", "plain")]
    return call(task, task.data(), STRUCTURE, *programs, most, "cpu", **more)


def test_widths_are_powers_of_two_up_to_the_number_of_trials(
    small_tasks: Mapping[str, Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(width, "knee", max)  # twice the lanes always pay
    found = measured(small_tasks["names"], 12, limits=Limits(patience_s=600.0))
    assert sorted(found.us) == [2, 4, 8]
    assert min(*found.us.values(), found.alone_us) > 0
    assert not found.bounded


@pytest.mark.parametrize("limits", [Limits(patience_s=0.0), Limits(memory_share=0.0)], ids=["time", "memory"])
def test_a_measurement_ends_where_time_or_memory_ends(
    small_tasks: Mapping[str, Task], monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    peaks = iter(range(0, 10**9, 10**6))
    monkeypatch.setattr(width, "_peak_bytes", lambda device: next(peaks))
    found = measured(small_tasks["names"], 64, limits=limits)
    assert list(found.us) == [2]
    assert found.bounded
    assert found.lanes(64) == 2


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Measurements, as they are asked for, by somebody who has made none before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked: list[Any] = []

    def counted(*arguments: Any) -> Width:
        asked.append(arguments)
        return Width({2: 30.0, 4: 20.0, 8: 10.0}, 50.0)

    monkeypatch.setattr(width, "measure", counted)
    return asked


def test_a_measurement_is_made_once_for_a_machine(
    small_tasks: Mapping[str, Task], calls: list[Any], tmp_path: Path
) -> None:
    task = small_tasks["thermometer"]

    def look(most: int, key: str = "this task") -> Width:
        return measured(task, most, width.cached_width, key=key)

    assert look(8) == look(8) == look(12)
    assert len(calls) == 1
    look(64)
    assert len(calls) == 2, "what was measured for few says nothing of many"
    look(8, "another task")
    assert len(calls) == 3
    for file in tmp_path.rglob("*.json"):
        file.write_text(json.dumps({"us": "broken"}))
    look(8)
    assert len(calls) == 4
    assert not list(tmp_path.rglob("*.part"))


def test_a_measurement_is_made_again_where_another_width_may_be_best(
    small_tasks: Mapping[str, Task], calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For other shapes or another type, for other code of a task, for more examples, on another machine."""
    thermometer, names = small_tasks["thermometer"], small_tasks["names"]

    def measures(structure: Structure = STRUCTURE, task: Task = thermometer, data: Task = thermometer) -> int:
        program, before = PROGRAMS["plain"](task, structure.optimizer), len(calls)
        width.cached_width(task, data.data(), structure, program, program, 8, "cpu", "this task")
        return len(calls) - before

    assert [measures(), measures()] == [1, 0]
    assert measures(Structure(SGD(), "step", 8)) == 1
    assert measures(Structure(SGD(), "step", 7, "float64")) == 1
    assert measures(task=names) == 1
    assert measures(data=names) == 1
    monkeypatch.setattr("platform.node", lambda: "another")
    assert [measures(), measures()] == [1, 0]


def test_a_cache_that_cannot_be_written_is_done_without(
    small_tasks: Mapping[str, Task], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert measured(small_tasks["thermometer"], 2, width.cached_width, key="a task").us
