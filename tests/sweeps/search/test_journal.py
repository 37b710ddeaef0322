"""A damaged journal of Optuna's: what can be read stays readable, for every sweep of a home, and the rest is named."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.sweeps.search import journal as journals
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import life, spec_with
from tests.tiers import examples

FIRST, SECOND = "warm-20260101-aaaa", "warm-20260102-bbbb"


def written(folder: Path) -> Path:
    """Write a journal of two sweeps of six trials, the second interrupted."""
    place = folder / "optuna.journal"
    store, spec = SweepStore.open(str(place)), spec_with()
    for sweep, ends in ((FIRST, 6), (SECOND, 3)):
        search = Search(store.create(sweep, spec, {"created": sweep, "parameters": 2}), 1, 6)
        cohort = search.next_cohort()
        assert cohort
        for trial in cohort.trials[:ends]:
            search.take_events(life(trial.number, 1.0 + trial.number))
        search.settle(everything=True)
    return place


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal that is well."""
    return written(tmp_path_factory.mktemp("journal")).read_bytes()


@pytest.fixture
def journal(whole: bytes, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    place = tmp_path / "optuna.journal"
    place.write_bytes(whole)
    return place


def states(place: Path, sweep: str) -> dict[int, str]:
    return {t.number: t.state for t in SweepStore.open(str(place)).find(sweep).results()}


ALL = dict.fromkeys(range(6), "complete")


def test_a_whole_journal_is_left_as_it_is(journal: Path, whole: bytes) -> None:
    assert states(journal, FIRST) == ALL
    assert journal.read_bytes() == whole
    assert [path.name for path in journal.parent.iterdir() if "damaged" in path.name] == []


Damage = Callable[[bytes, int], bytes]
DAMAGES: dict[str, Damage] = {
    "one bad byte": lambda line, at: line[:at] + b"\xff" + line[at + 1 :],
    "no JSON": lambda line, at: b"{" + line,
    "zeros": lambda line, at: b"\0" * (len(line) - 1) + b"\n",
    "gone": lambda line, at: b"",
    "no line's end": lambda line, at: line[:-1],
    "twice": lambda line, at: line + line,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_line_of_one_sweep_leaves_the_other_whole(
    damage: Damage, journal: Path, whole: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    lines = whole.splitlines(keepends=True)
    second = next(n for n, line in enumerate(lines) if SECOND.encode() in line)
    for number in range(second + 6, len(lines) - 2, 7):
        journal.write_bytes(
            b"".join([*lines[:number], damage(lines[number], len(lines[number]) // 2), *lines[number + 1 :]])
        )
        assert states(journal, FIRST) == ALL, f"line {number + 1}"
        assert set(states(journal, SECOND)) >= {0, 1, 2}


def test_a_lost_line_that_made_a_trial_is_made_up_for_and_the_others_keep_their_numbers(
    journal: Path, whole: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    lines = whole.splitlines(keepends=True)
    made = [n for n, line in enumerate(lines) if json.loads(line)["op_code"] == journals.CREATE_TRIAL]
    before = {t.number: t for t in SweepStore.open(str(journal)).find(FIRST).results()}
    lines[made[2]] = b"\0" * 40 + b"\n"
    journal.write_bytes(b"".join(lines))
    with caplog.at_level(logging.WARNING):
        after = {t.number: t for t in SweepStore.open(str(journal)).find(FIRST).results()}
    assert {n: (t.params, t.value) for n, t in after.items()} == {n: (t.params, t.value) for n, t in before.items()}
    (sentence,) = [r.getMessage() for r in caplog.records if r.name.startswith("espalier.sweeps")]
    assert str(journal) in sentence and f"line {made[2] + 1}" in sentence and "optuna.journal.damaged-1" in sentence
    assert journal.with_name("optuna.journal.damaged-1").read_bytes() == b"".join(lines)


@examples(40)
@given(st.data())
def test_no_damage_makes_a_home_unreadable(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at, length = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.sampled_from([1, 1, 1, 7, 300, 5000]))
        kind = data.draw(st.sampled_from(["byte", "zeros", "cut", "newline", "digit"]))
        if kind == "cut":
            del content[at : at + length]
        else:
            filler = {"byte": bytes([data.draw(st.integers(0, 255))]), "zeros": b"\0", "newline": b"\n", "digit": b"7"}[
                kind
            ]
            content[at : at + length] = filler * len(content[at : at + length])
    place = tmp_path_factory.mktemp("damaged") / "optuna.journal"
    place.write_bytes(content)
    SweepStore.open_for_reading(str(place)).ids()
    store = SweepStore.open(str(place))
    for sweep in store.ids():
        try:
            store.find(sweep).results()
        except BadInput as error:  # of a spec that was damaged itself
            assert "\n" not in str(error)
    assert SweepStore.open(str(place)).ids() == store.ids()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_who_only_looks_at_a_damaged_journal_sees_what_can_be_read_and_writes_nothing(
    damage: Damage, journal: Path, whole: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    lines = whole.splitlines(keepends=True)
    second = next(n for n, line in enumerate(lines) if SECOND.encode() in line)
    for number in range(second + 6, len(lines) - 2, 11):
        damaged = damage(lines[number], len(lines[number]) // 2)
        journal.write_bytes(b"".join([*lines[:number], damaged, *lines[number + 1 :]]))
        store = SweepStore.open_for_reading(str(journal))
        assert {t.number: t.state for t in store.find(FIRST).results()} == ALL
        assert journal.read_bytes() == b"".join([*lines[:number], damaged, *lines[number + 1 :]])
        assert [path.name for path in journal.parent.iterdir()] == [journal.name]


def test_an_empty_journal_has_no_sweeps(tmp_path: Path) -> None:
    place = tmp_path / "optuna.journal"
    place.touch()
    assert SweepStore.open(str(place)).ids() == []


def test_a_folder_where_the_journal_should_be_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "optuna.journal").mkdir()
    for way, verb in ((SweepStore.open, "opened"), (SweepStore.open_for_reading, "read")):
        with pytest.raises(BadInput, match=rf"optuna\.journal: cannot be {verb}") as refused:
            way(str(tmp_path / "optuna.journal"))
        assert "\n" not in str(refused.value)


def test_a_kill_between_a_study_and_its_spec_does_not_keep_its_id(journal: Path, whole: bytes) -> None:
    lines = whole.splitlines(keepends=True)
    second = next(n for n, line in enumerate(lines) if SECOND.encode() in line)
    for after in range(1, 4):  # the study, then its facts
        journal.write_bytes(b"".join(lines[: second + after]))
        store = SweepStore.open(str(journal))
        assert not store.exists(SECOND)
        store.create(SECOND, spec_with(), {"created": "now"})
        assert SweepStore.open(str(journal)).exists(SECOND)
    with pytest.raises(BadInput, match=f"sweep {SECOND} exists already"):
        SweepStore.open(str(journal)).create(SECOND, spec_with(), {})
