"""Which tests run when: all of them with `make test-all`, and with `make test` (pytest --fast) what docs/tests.md says.

`slow` runs in `make test-all` alone. Of a test that is `each_value`, `make test` runs so many cases that every value of
every parameter occurs, as the names of the cases tell them; of one that is `sampled(n)`, n cases. Both choose by a hash
of the case's name, so a choice stays the same until somebody adds or renames a case. A test that draws its examples
(Hypothesis) draws a fifth of them in `make test`. What is `early` begins first: a test of half a minute that begins
last would keep one worker busy while the others have nothing left.
"""

import re
from collections.abc import Hashable, Iterable, Sequence
from hashlib import sha256
from typing import TypeVar

import pytest
from hypothesis import settings

T = TypeVar("T")
EXAMPLES, FAST_EXAMPLES = 25, 5
settings.register_profile("whole", deadline=None, print_blob=True, max_examples=EXAMPLES)
settings.register_profile("fast", deadline=None, print_blob=True, max_examples=FAST_EXAMPLES)


def add_option(parser: pytest.Parser) -> None:
    """Have pytest take --fast."""
    parser.addoption("--fast", action="store_true", help="leave out slow tests, and take some cases of each_value ones")


def load_profile(config: pytest.Config) -> None:
    """Have Hypothesis draw as many examples as the tier wants. Test modules are imported later."""
    settings.load_profile("fast" if config.getoption("--fast") else "whole")


def examples(count: int, fast: int | None = None) -> settings:
    """Return the decorator of a test that draws so many examples in `make test-all`.

    In `make test` it draws `fast` of them, or a fifth.
    """
    in_fast = settings().max_examples == FAST_EXAMPLES
    return settings(max_examples=fast if fast and in_fast else max(3, count * settings().max_examples // EXAMPLES))


def arrange(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --fast, deselect what does not run in `make test`; have what is `early` begin first."""
    if config.getoption("--fast"):
        _select(config, items)
    early = [item for item in items if item.get_closest_marker("early")]
    late = [item for item in items if not item.get_closest_marker("early")]
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = [item for share in shares(early, late, workers) for item in share]


def shares(early: Sequence[T], late: Sequence[T], workers: int) -> list[list[T]]:
    """Return what each of xdist's workers is given at first, the early ones in front.

    >>> shares("AB", "cdefg", 3)
    [['A', 'c'], ['B', 'd'], ['e', 'f', 'g']]
    """
    dealt, rest, given = [early[k::workers] for k in range(workers)], list(late), []
    for k, front in enumerate(dealt):
        size = (len(rest) + sum(map(len, dealt[k:]))) // (workers - k)
        count = max(0, size - len(front))
        given.append([*front, *rest[:count]])
        del rest[:count]
    return given


def _select(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [item for item in items if not item.get_closest_marker("slow")]
    for function in _functions(chosen):
        taken = _taken(function)
        left_out = {id(item) for item in function} - {id(item) for item in taken}
        chosen = [item for item in chosen if id(item) not in left_out]
    kept = {id(item) for item in chosen}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = chosen


def _functions(items: Iterable[pytest.Item]) -> list[list[pytest.Item]]:
    """Return the cases of each test function that says that some of them are enough."""
    functions: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("each_value") or item.get_closest_marker("sampled"):
            functions.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return list(functions.values())


def _taken(cases: Sequence[pytest.Item]) -> list[pytest.Item]:
    names = [case.nodeid for case in cases]
    if marker := cases[0].get_closest_marker("sampled"):
        return [cases[k] for k in sample(names, marker.args[0])]
    return [cases[k] for k in cover(names, [words(name) for name in names])]


def words(name: str) -> list[str]:
    """Return the values that a case's name tells.

    >>> words("tests/laws/test_lanes.py::test_a_lane[vmap-names, SGD, step]")
    ['vmap', 'names', 'SGD', 'step']
    """
    _, _, values = name.rstrip("]").partition("[")
    return re.split(", |-", values) if values else []


def sample(names: Sequence[str], count: int) -> list[int]:
    """Return the places of `count` names, always the same ones, in order.

    >>> sample(["a", "b", "c"], 2) == sample(["a", "b", "c"], 2), len(sample(["a", "b"], 5))
    (True, 2)
    """
    return sorted(sorted(range(len(names)), key=lambda k: _hash(names[k]))[:count])


def cover(names: Sequence[str], values: Sequence[Sequence[Hashable]]) -> list[int]:
    """Return the places of few cases that have every value that any has, chosen greedily, ties by the hash of the name.

    >>> chosen = cover(["x0", "x1", "y0", "y1"], [["x", 0], ["x", 1], ["y", 0], ["y", 1]])
    >>> len(chosen), chosen in ([0, 3], [1, 2])
    (2, True)
    """
    missing = {value for of_case in values for value in of_case}
    left, chosen = sorted(range(len(names)), key=lambda k: _hash(names[k])), []
    while missing:
        best = max(left, key=lambda k: len(missing & {*values[k]}))
        missing -= {*values[best]}
        left.remove(best)
        chosen.append(best)
    return sorted(chosen) or left[:1]


def _hash(name: str) -> bytes:
    return sha256(name.encode()).digest()
