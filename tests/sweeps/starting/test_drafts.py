"""Whatever the arguments of training code are called, the spec that is written is one that a sweep takes."""

import string

from hypothesis import given
from hypothesis import strategies as st

from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.space import ENGINE
from espalier.sweeps.spec.spec import make_spec
from espalier.sweeps.starting.arguments import Argument, kind_of
from espalier.sweeps.starting.draft import Draft
from espalier.sweeps.starting.from_command import Command, _add_space, _add_words
from espalier.sweeps.starting.from_function import add_space

WORDS = [*ENGINE, "lr", "learning_rate", "betas", "dropout", "epochs", "max_steps", "random_state", "device", "bs"]
NAMES = st.sampled_from(WORDS) | st.text(string.ascii_letters + "_", min_size=1, max_size=12)
NUMBERS = st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False, width=32)
DEFAULTS = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.tuples(NUMBERS, NUMBERS)
CHOICES = st.just(()) | st.lists(st.sampled_from(["a", "on", "010", 1, 0.5]), min_size=1, max_size=3, unique=True)


@st.composite
def arguments(draw: st.DrawFn) -> list[Argument]:
    names = draw(st.lists(NAMES, unique=True, max_size=6))
    found = []
    for name in names:
        default, flag = draw(DEFAULTS), draw(st.booleans())
        if flag:
            found.append(Argument(name, f"--{name}", "bool", False, flag=True))
        else:
            option = draw(st.sampled_from([f"--{name}", f"-{name[0]}"]))
            found.append(Argument(name, option, kind_of(default), default, tuple(draw(CHOICES))))
    return found


def taken(draft: Draft) -> set[str]:
    spec = make_spec(yaml12.read(draft.text(), "a draft"), "a draft")
    return {"lr" if name == "lr_exponent" else name for name in spec.space.searched()}


@given(arguments())
def test_a_spec_for_a_command_is_one(found: list[Argument]) -> None:
    draft = Draft("sweep init", "any", "command", [], notes=[])
    command = Command(["python", "train.py"], 1, [])
    _add_words(draft, command, found)
    _add_space(draft, command, found)
    assert taken(draft) == {line.name for line in draft.space if line.active}


@given(arguments())
def test_a_spec_for_a_function_is_one(found: list[Argument]) -> None:
    draft = Draft("sweep init", "any", "function", "train.py:train", notes=[])
    add_space(draft, found)
    assert taken(draft) == {line.name for line in draft.space if line.active}
