"""Samplers: those of this program, and a person's own in a file."""

from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.samplers import SAMPLERS, Sampler
from espalier.sweeps.search.asking import Draws, distribution
from espalier.sweeps.spec import parts
from espalier.sweeps.spec.space import Range
from tests.sweeps.made import spec_with

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")

MINE = """
from optuna.samplers import RandomSampler
from MODULE import Sampler

class Mine(Sampler):
    learns = False

    def make(self, domains, seed, draw_seed):
        return RandomSampler(seed=draw_seed)

class Other:
    pass
"""


@pytest.mark.parametrize("name", SAMPLERS.names)
def test_every_sampler_of_the_registry_can_be_made(name: str) -> None:
    domains = {"lr_exponent": distribution(Range(low=-3, high=-1, step=0.5))}
    assert isinstance(sampler := SAMPLERS[name](), Sampler)
    assert sampler.make(domains, 0, 1)


def test_which_samplers_learn_from_ended_trials_and_which_enumerates() -> None:
    """A sampler of one's own is taken to learn, so a search that must repeat itself asks it in rounds."""
    learns = {name: parts.Search(sampler=name, repeatable=True).in_rounds for name in (*SAMPLERS.names, "mine.py:Mine")}
    independent = dict.fromkeys(("random", "qmc", "grid"), False)
    by_pieces = {"thaw": False}  # repeats itself by a lag between results and proposals
    assert learns == independent | by_pieces | {"tpe": True, "gp": True, "mine.py:Mine": True}
    assert [name for name in SAMPLERS.names if SAMPLERS[name].enumerates] == ["grid"]


@pytest.mark.parametrize("module", ["espalier", "espalier.sweeps.samplers", "espalier.sweeps.search.samplers"])
def test_a_persons_own_sampler_is_found_in_its_file_and_draws(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last name is of an earlier version."""
    (tmp_path / "mine.py").write_text(MINE.replace("MODULE", module))
    monkeypatch.chdir(tmp_path)
    spec = spec_with()
    own = spec.model_copy(update={"search": spec.search.model_copy(update={"sampler": "mine.py:Mine"})})
    draws = Draws(own, {"lr_exponent": distribution(Range(low=-3, high=-1))}, 0)
    assert type(draws.of(0)).__name__ == "RandomSampler"
    with pytest.raises(BadInput, match=r"search.sampler: mine.py:Other is no Sampler"):
        SAMPLERS["mine.py:Other"]
    with pytest.raises(BadInput, match=r"search.sampler: unknown sampler 'random-search'; did you mean 'random'"):
        SAMPLERS["random-search"]
