"""A sampler of one's own that is wrong is refused in a line before anything begins."""

import re
from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.search.own_sampler import try_sampler
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import spec_with

MINE = """
from optuna.samplers import GridSampler, RandomSampler
import espalier as es

class Good(es.Sampler):
    def make(self, domains, seed, draw_seed):
        return RandomSampler(seed=draw_seed)

class Listed(es.Sampler):
    enumerates = True

    def make(self, domains, seed, draw_seed):
        return GridSampler({name: [domain.low] for name, domain in domains.items()}, seed)

class Empty(es.Sampler):
    pass

class Raising(es.Sampler):
    def make(self, domains, seed, draw_seed):
        return domains["nope"]

class Three(es.Sampler):
    def make(self, domains, seed, draw_seed):
        return 3

class Argued(es.Sampler):
    def __init__(self, depth):
        self.depth = depth

class Short(es.Sampler):
    def make(self, domains):
        return RandomSampler()

class Late(es.Sampler):
    def make(self, domains, seed, draw_seed):
        return Sampling()

class Sampling(RandomSampler):
    def sample_independent(self, study, trial, name, domain):
        return 1 / 0
"""


@pytest.fixture
def spec(tmp_path: Path) -> SweepSpec:
    (tmp_path / "mine.py").write_text(MINE)
    return spec_with(space={"lr_exponent": {"low": -3, "high": -1}})


def named(spec: SweepSpec, sampler: str, **fields: object) -> SweepSpec:
    return spec.model_copy(update={"search": spec.search.model_copy(update={"sampler": sampler, **fields})})


@pytest.mark.parametrize("name", ["Good", "Listed"])
@pytest.mark.parametrize("repeatable", [False, True])
def test_one_that_works_passes(spec: SweepSpec, tmp_path: Path, name: str, repeatable: bool) -> None:
    try_sampler(named(spec, f"{tmp_path}/mine.py:{name}", repeatable=repeatable and name == "Good"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Empty", r"Empty has no make\(\); it must return a sampler of Optuna"),
        ("Raising", r"Raising: KeyError: 'nope' \(mine.py, line \d+\)"),
        ("Three", r"Three: make\(\) returned 3; it must return a sampler of Optuna"),
        ("Argued", "has no make"),
        ("Short", r"Short: TypeError: .*make\(\) takes"),
        ("Late", r"Late: it proposes no trial: ZeroDivisionError: division by zero \(mine.py, line \d+\)"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_a_line(spec: SweepSpec, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        try_sampler(named(spec, f"{tmp_path}/mine.py:{name}"))
    assert re.search(f"^search.sampler: .*mine.py:{words}" if words[0].isupper() else words, str(refused.value))
    assert "\n" not in str(refused.value)
