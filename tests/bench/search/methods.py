"""The ways to search that are compared, by name. A new one is one line here."""

import importlib.util
from collections.abc import Sequence

from tests.bench.search.method import Method
from tests.bench.search.peers import PRUNERS, SAMPLERS, Peer
from tests.bench.search.pieces import ByPieces
from tests.bench.search.product import Product
from tests.bench.search.thawing import Thawing

METHODS: dict[str, Method] = {
    "espalier, thaw": ByPieces(Thawing),
    "espalier, tpe": Product(),
    "espalier, tpe, one branch": Product(branches=1),
    "espalier, tpe, no stopping": Product(stopping=None),
    "espalier, gp, one branch, no stopping": Product("gp", branches=1, stopping=None),
    "espalier, random": Product("random"),
    "espalier, qmc": Product("qmc"),
}
METHODS |= {
    f"Optuna {sampler}{', ' if pruner else ''}{pruner}": Peer(sampler, pruner)
    for sampler in SAMPLERS
    for pruner in PRUNERS
}


def chosen(names: Sequence[str]) -> dict[str, Method]:
    """Return methods by name: all for no names. `file.py:name` is an object of a file. Raises SystemExit for others."""
    picked: dict[str, Method] = {}
    for name in names:
        if name in METHODS:
            picked[name] = METHODS[name]
        elif ".py:" in name:
            picked[name.rpartition(":")[2]] = _from_file(*name.rsplit(":", 1))
        else:
            raise SystemExit(f"unknown method {name!r}; there are: {', '.join(METHODS)}; or file.py:name")
    return picked or dict(METHODS)


def _from_file(file: str, name: str) -> Method:
    spec = importlib.util.spec_from_file_location("method_from_file", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)
