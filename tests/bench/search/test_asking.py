"""The time of a proposal is measured after as many pieces as it says."""

import pytest

from espalier.sweeps.thaw.space import DECADES, Number, Space
from tests.bench.search import asking


@pytest.mark.parametrize(("high", "pieces"), [(-0.999, 40), (1, 120)], ids=["a narrow range", "two decades"])
def test_a_search_goes_on_as_far_as_its_budget_pays(high: float, pieces: int) -> None:
    """Also where all that is left is expected to be no better."""
    assert len(asking.ask_times(Space([Number(-1, high, DECADES)]), pieces)) == pieces


def test_the_section_has_a_row_for_each_space() -> None:
    found = {name: {"pieces": 1000, "median": 9.04, "p95": 12.0, "most": 14.0} for name in asking.SPACES}
    text = asking.section(found)
    assert all(f"| {name} | 1,000 | 9.0 | 12.0 | 14.0 |" in text for name in asking.SPACES)
