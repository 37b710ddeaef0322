"""The spool: lines on disk survive a crash, in order, each once."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.sweeps.recording.records import TrialEnded, TrialReported, TrialTagged
from espalier.sweeps.recording.spool import Spool
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.sweeps.recording.saying import recorded, recorder_at, say_end, say_open, say_start


def tagged(trial: int) -> TrialTagged:
    return TrialTagged(trial, {})


def test_a_spool_keeps_what_was_said_in_order_and_what_was_sent(tmp_path: Path) -> None:
    with closing(Spool(tmp_path)) as spool:
        for n in range(7):
            spool.append(tagged(n), 1)
        lines, place = spool.pending(3)
        assert [line.trial for line in lines] == [0, 1, 2]
        spool.move_mark(place)
    with closing(Spool(tmp_path)) as again:
        assert [line.trial for line in again.pending()[0]] == [3, 4, 5, 6]
        assert [record.trial for record in again.records(TrialTagged)] == list(range(7))


@given(st.binary(max_size=40))
def test_whatever_a_crash_leaves_at_the_end_of_a_spool_the_lines_before_it_are_read(
    tmp_path_factory: pytest.TempPathFactory, rest: bytes
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    with closing(Spool(folder)) as spool:
        spool.append(tagged(1), 1)
    with open(folder / "spool.jsonl", "ab") as file:
        file.write(rest.replace(b"\n", b"."))
    with closing(Spool(folder)) as spool:
        spool.append(tagged(2), 1)
        assert [line.trial for line in spool.pending()[0]] == [1, 2]


def test_a_full_spool_drops_points_but_no_start_and_no_end(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, max_unsent_bytes=1000)) as spool:
        for step in range(100):
            spool.append(TrialReported(0, step, [("loss", step, 1.0)]), 1)
        spool.append(TrialEnded(0, "trial 0", 100, {}, {}, "FINISHED"), 1)
        kept = [line.record.op for line in spool.pending()[0]]
    assert kept[-1] == "end"
    assert 0 < kept.count("report") < 100
    assert spool.dropped == 100 - kept.count("report")


def test_a_line_that_a_crash_tore_is_cut_off(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_open(recorder)
    say_start(recorder, 0)
    assert recorder.close()
    with open(recorder.spool.path, "ab") as file:
        file.write(b'{"op": "end", "time": 17, "trial": 0, "na')
    again = recorder_at(home)
    say_end(again, 0)
    assert again.close()
    assert recorded(default_uri(home))["0"]["status"] == "FINISHED"
    lines = again.spool.path.read_bytes().splitlines()
    assert [json.loads(line)["op"] for line in lines] == ["open", "start", "end"]
