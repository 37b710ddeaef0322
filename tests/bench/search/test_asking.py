"""The time of a proposal is measured after as many pieces as it says, also where a search is done before."""

from espalier.sweeps.thaw.space import DECADES, Number, Space
from tests.bench.search import asking


def test_a_search_that_is_done_gets_pieces_that_it_did_not_ask_for() -> None:
    narrow = Space([Number(-1, -0.999, DECADES)])
    times, given = asking.ask_times(narrow, 40)
    assert len(times) == 40
    assert 0 < given < 40


def test_a_search_may_go_on_with_a_trunk_that_others_began() -> None:
    times, given = asking.ask_times(Space([Number(-1, 1, DECADES)]), 120)
    assert len(times) == 120
    assert given > 0


def test_the_section_has_a_row_for_each_space() -> None:
    found = {name: {"pieces": 1000, "given": 7, "median": 9.04, "p95": 12.0, "most": 14.0} for name in asking.SPACES}
    text = asking.section(found)
    assert all(f"| {name} | 1,000 | 7 | 9.0 | 12.0 | 14.0 |" in text for name in asking.SPACES)
