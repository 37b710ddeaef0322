"""A table made by the engine: its cells are whole trainings, and both kinds of tables read alike."""

from pathlib import Path

import numpy as np
import pytest

from espalier.core.scores.registry import SCORES
from espalier.core.training.events import Ended, Reported
from espalier.sweeps.engine import make_cohort
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from tests.bench.search.methods import METHODS
from tests.bench.search.table import Table
from tests.bench.tables import Axes, arguments, make_table, spec_of, write_table
from tests.bench.truths import TRUTHS, make_all

TABLES = sorted((Path(__file__).parent / "search" / "tables").glob("*.npz"))
WORDS = "--task thermometer --optimizer adamw --schedule wsd --exponents -3 -1 2 --decay 0.5 0.8 2 --steps 40"


def test_a_cell_is_the_trial_trained_alone(tmp_path: Path) -> None:
    """To the bit, with its curve; scores on the way and shared trunks change nothing."""
    out = tmp_path / "small.npz"
    spec = spec_of(arguments([*WORDS.split(), "--out", str(out), "budget.batch_size=11"]))
    axes = Axes([-3.0, -1.0], [0.5, 0.8])
    write_table(out, make_table(spec, axes))
    table = Table.read(out)
    assert set(table.scores) == set(SCORES.names)
    assert all(np.isfinite(scores).all() for scores in table.scores.values())
    assert (table.final_ED[:, 0] != table.final_ED[:, 1]).all(), "the decay point matters"
    unscored = spec.model_copy(update={"stopping": None, "budget": spec.budget.model_copy(update={"reports": 20})})
    for cell in range(4):
        exponent, decay = axes.exponents[cell // 2], axes.decays[cell % 2]
        trial = PlannedTrial(0, spec.space.resolve(axes.point(cell)))
        events = list(make_cohort(unscored, [trial], Provenance("vmap", "", 1, "cpu")).train())
        curve = [event.values["valid_loss"] for event in events if isinstance(event, Reported)]
        assert list(table.curve_CED[:, cell // 2, cell % 2]) == curve
        (end,) = (event for event in events if isinstance(event, Ended))
        assert table.final(exponent, decay) == end.values["valid_loss"]


def test_a_schedule_without_decay_points_has_one_column() -> None:
    words = "--task thermometer --schedule cosine --exponents -3 -2 2 --steps 20 --out unused budget.batch_size=11"
    arrays = make_table(spec_of(arguments(words.split())), Axes([-3.0, -2.0], [1.0]))
    assert arrays["fin"].shape == (1, 2, 1)
    assert np.isfinite(arrays["fin"]).all()


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_searches_read_the_tables_of_the_repository(file: Path) -> None:
    assert file.stat().st_size < 100_000
    table = Table.read(file)
    finishes = METHODS["espalier, random"].replay(table, 8, 2, 0)
    assert 0 <= min(end.value for end in finishes) - table.best < 1


@pytest.mark.parametrize("name", TRUTHS)
def test_the_tables_of_the_report_can_be_asked_for(name: str) -> None:
    wanted = arguments([*TRUTHS[name].split(), "--out", "unused"])
    spec = spec_of(wanted)
    assert (spec.schedule.kind in ("step", "wsd")) == bool(wanted.decay), "decay points where the schedule has them"
    assert spec.task_options == ({"batchnorm": True} if "-bn-" in name else {})


@pytest.mark.slow
def test_all_tables_are_those_that_a_folder_lacks(tmp_path: Path) -> None:
    truths = {"small": WORDS, "smaller": WORDS.replace("40", "20")}
    make_all(tmp_path, 2, truths)
    first = {name: (tmp_path / f"{name}.npz").stat().st_mtime_ns for name in truths}
    assert [Table.read(tmp_path / f"{name}.npz").steps for name in truths] == [40, 20]
    changed = truths | {"small": WORDS.replace("40", "30")}
    make_all(tmp_path, 1, changed)
    assert {name: Table.read(tmp_path / f"{name}.npz").words for name in truths} == changed
    assert (tmp_path / "smaller.npz").stat().st_mtime_ns == first["smaller"], "it has not been made again"
    assert Table.read(tmp_path / "small.npz").steps == 30
    assert len(list(tmp_path.iterdir())) == 2
