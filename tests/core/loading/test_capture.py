"""A class that stands in no file, taken out of where it was written with all that it uses."""

import importlib.util
import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.core.loading.capture import capture, is_importable
from espalier.core.loading.fingerprint import fingerprint
from espalier.core.loading.literals import literal
from espalier.core.loading.references import load_class

Cells = Callable[..., ModuleType]


@pytest.fixture
def cells() -> Iterator[Cells]:
    """Return a function that runs some cells as a notebook does: each is compiled under a name of its own."""
    made: list[str] = []

    def run(*sources: str) -> ModuleType:
        name = f"a_notebook_{len(made)}"
        module = ModuleType(name)
        made.append(name)
        sys.modules[name] = module
        vars(module)["In"] = ["", *sources]
        for number, source in enumerate(sources):
            file = f"<{name} cell {number}>"
            linecache.cache[file] = (len(source), None, source.splitlines(True), file)
            exec(compile(source, file, "exec"), vars(module))
        return module

    yield run
    for name in made:
        del sys.modules[name]


def written(kind: type, folder: Path) -> Any:
    """Return a class as another process would have it, from the file that it was written into."""
    return load_class(f"{capture(kind).write(folder)}:{kind.__name__}")


def test_a_class_is_importable_where_its_module_is_a_file(cells: Cells) -> None:
    assert is_importable(Path) and not is_importable(cells("class A: pass").A)


EACH = {
    "what it inherits from": ("class Base:\n    x = 3", "class A(Base):\n    def get(self): return self.x"),
    "a function": ("def three(): return 3", "class A:\n    def get(self): return three()"),
    "a function of a function": (
        "def one(): return 1",
        "def three(): return 3 * one()",
        "class A:\n    def get(self): return three()",
    ),
    "a value that a default takes": ("N = 3", "class A:\n    def get(self, n=N): return n"),
    "a value of the class's body": ("N = 3", "class A:\n    n = N\n    def get(self): return self.n"),
    "a decorator": (
        "def plus(f):\n    return lambda self: f(self) + 1",
        "class A:\n    @plus\n    def get(self): return 2",
    ),
    "a decorated class": (
        "from dataclasses import dataclass",
        "@dataclass\nclass A:\n    n: int = 3\n    def get(self): return self.n",
    ),
    "a module": ("import math", "class A:\n    def get(self): return math.floor(3.5)"),
    "a module by another name": ("import os.path as p", "class A:\n    def get(self): return len(p.join('a', 'b'))"),
    "a part of a package": ("import os.path", "class A:\n    def get(self): return len(os.path.join('a', 'b'))"),
    "a module in a package": (
        "import xml.dom.minidom\nimport xml.etree.ElementTree",
        "class A:\n    def get(self): return len(xml.dom.minidom.parseString('<a/>').childNodes) + 2",
    ),
    "a name that was imported, then bound anew": (
        "from math import floor as f",
        "f = 3",
        "class A:\n    def get(self): return f",
    ),
    "a name that was imported twice": (
        "from math import ceil as f",
        "from math import floor as f",
        "class A:\n    def get(self): return f(3.5)",
    ),
    "what was imported of a module": ("from math import floor as f", "class A:\n    def get(self): return f(3.5)"),
    "an import in a block": ("if True:\n    from math import floor", "class A:\n    def get(self): return floor(3.5)"),
    "a dictionary": ("D = {'a': [1, (2,)]}", "class A:\n    def get(self): return D['a'][0] + D['a'][1][0]"),
    "an instance of a dataclass": (
        "from dataclasses import dataclass, field",
        "@dataclass(frozen=True)\nclass Size:\n    n: int\n    more: list = field(default_factory=list)",
        "SIZE = Size(1, [Size(2)])",
        "class A:\n    def get(self, size=SIZE): return size.n + SIZE.more[0].n",
    ),
    "an instance that looks at its fields": (
        "from dataclasses import dataclass",
        "@dataclass(slots=True)\nclass Size:\n    n: int = 3\n    def __post_init__(self): assert self.n > 0",
        "SIZES = {'a': Size()}",
        "class A:\n    def get(self): return SIZES['a'].n",
    ),
    "a module that calls itself otherwise": (
        "import sys, types\nmade = types.ModuleType('otherwise')\nmade.n = 3\nsys.modules['xml.made_here'] = made\n"
        "import xml\nxml.made_here = made\ndel made",
        "import xml.made_here as c",
        "class A:\n    def get(self): return c.n",
    ),
    "a tensor": ("import torch\nT = torch.arange(3)", "class A:\n    def get(self): return int(T.sum())"),
    "an array": ("import numpy as np\nX = np.ones(3)", "class A:\n    def get(self): return int(X.sum())"),
    "a number of numpy's": ("import numpy as np\nN = np.float64(3)", "class A:\n    def get(self): return int(N)"),
    "a name that a lambda uses": ("N = 3", "class A:\n    key = lambda self: N\n    def get(self): return self.key()"),
    "a lambda": ("N = 2", "plus = lambda x: x + N", "class A:\n    def get(self): return plus(1)"),
    "a function that remembers": (
        "from functools import lru_cache",
        "@lru_cache\ndef three(): return 3",
        "class A:\n    def get(self): return three()",
    ),
    "a function that torch wraps": (
        "import torch",
        "@torch.no_grad()\ndef three(): return 3",
        "class A:\n    def get(self): return three()",
    ),
    "a method that torch wraps": ("import torch", "class A:\n    @torch.no_grad()\n    def get(self): return 3"),
    "two classes that need one another": (
        "class B:\n    def n(self): return A.n",
        "class A:\n    n = 3\n    def get(self): return B().n()",
    ),
    "itself": ("class A:\n    def get(self): return 3 if isinstance(self, A) else 0",),
    "a function under another name": (
        "def three(): return 3\nalias = three",
        "class A:\n    def get(self): return alias()",
    ),
    "of two cells the later": ("def n(): return 2", "def n(): return 3", "class A:\n    def get(self): return n()"),
    "a name that is local elsewhere": (
        "x = object()",
        "class A:\n    def get(self):\n        x = 3\n        return x",
    ),
    "a helper with a comprehension": ("N = 3", "class A:\n    def get(self): return sum(1 for _ in range(N))"),
    "a class that was indented": ("if True:\n    class A:\n        def get(self): return 3",),
    "an enumeration without methods": (
        "from enum import Enum\nclass Kind(Enum):\n    THREE = 3",
        "class A:\n    def get(self): return Kind.THREE.value",
    ),
}


@pytest.mark.parametrize("sources", EACH.values(), ids=EACH)
def test_what_a_class_uses_comes_along(sources: tuple[str, ...], cells: Cells, tmp_path: Path) -> None:
    kind = cells(*sources).A
    again = written(kind, tmp_path)
    assert again is not kind and again().get() == kind().get() == 3


def test_what_it_does_not_use_stays_behind(cells: Cells) -> None:
    taken = capture(cells("secret = 'x'\nimport socket\ndef other(): return secret", "class A:\n    n = 3").A)
    assert "secret" not in taken.text and "socket" not in taken.text and "other" not in taken.text


REFUSED = {
    "an object": ("class Frame: pass\ndf = Frame()", "class A:\n    def get(self): return df", "A uses df, a Frame"),
    "an iterator": ("f = iter([1])", "class A:\n    def get(self): return f", "A uses f, a list_iterator"),
    "a function in a function": (
        "def make():\n    class A: pass\n    return A\nA = make()",
        "",
        "define it at the top level",
    ),
    "an instance that its fields do not make": (
        "from dataclasses import dataclass",
        "@dataclass\nclass Size:\n    n: int\n    def __post_init__(self): self.n += 1\nSIZE = Size(1)\n"
        "class A:\n    def get(self): return SIZE.n",
        "SIZE, a Size",
    ),
    "a class on top of one of its own name": (
        "class A:\n    def get(self): return 3",
        "class A(A):\n    pass",
        "A is based on an earlier A, which has no name any more; give one of them another name",
    ),
    "a class that a call makes": (
        "class B:\n    def get(self): return 3",
        "A = type('Made', (B,), {})",
        "the class Made of a notebook: no name there is that of the class",
    ),
    "a class that was defined anew": (
        "class B:\n    def get(self): return 3\nA = B",
        "class B:\n    def get(self): return 4",
        "the class B of a notebook: another one has that name since",
    ),
    "what a helper uses": (
        "o = object()\ndef helper(): return o",
        "class A:\n    def get(self): return helper()",
        "helper uses o, an object",
    ),
}


@pytest.mark.parametrize("before, cell, why", REFUSED.values(), ids=REFUSED)
def test_what_no_file_can_hold_is_named(before: str, cell: str, why: str, cells: Cells) -> None:
    kind = cells(before, cell).A
    with pytest.raises(BadInput) as caught:
        capture(kind)
    assert why in str(caught.value) and "\n" not in str(caught.value)


def test_equal_code_stands_in_one_place_and_other_code_in_another(cells: Cells, tmp_path: Path) -> None:
    places = [
        capture(cells(f"import torch\nT = torch.ones({n})", f"class A:\n    n = {m}\n    def get(self): return T").A)
        for n, m in ((1, 1), (1, 1), (2, 1), (1, 2))
    ]
    files = [place.write(tmp_path) for place in places]
    assert files[0] == files[1] and len(set(files)) == 3
    prints = [fingerprint(load_class(f"{file}:A")) for file in files]
    assert prints[0] == prints[1] and prints[0] != prints[3]


def test_a_tensor_that_is_part_of_another_brings_no_more_than_itself(cells: Cells, tmp_path: Path) -> None:
    file = capture(cells("import torch\nT = torch.ones(10**6)[:3]", "class A:\n    def get(self): return T").A)
    assert file.write(tmp_path).with_name("T.pt").stat().st_size < 5000


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(PLAIN)
def test_a_plain_value_reads_back(value: Any) -> None:
    text = literal(value)
    assert text is not None
    again = eval(text, {})
    assert repr(again) == repr(value) or np.array_equal([again], [value], equal_nan=True)


@pytest.mark.parametrize("value", [torch.float64, torch.device("cpu"), Path("a") / "b", {1, 2}, frozenset("ab")])
def test_so_do_values_of_torch_and_sets(value: Any) -> None:
    assert eval(str(literal(value)), {"torch": torch, "Path": Path}) == value


def test_a_script_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("N = 3\nclass A:\n    def get(self): return N\n")
    spec = importlib.util.spec_from_file_location("a_script", tmp_path / "script.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["a_script"] = module
    try:
        spec.loader.exec_module(module)
        assert is_importable(module.A)
        assert written(module.A, tmp_path)().get() == 3
    finally:
        del sys.modules["a_script"]


SCRIPT = """
import sys
sys.path.append({more!r})
import helper
import pkg.deep
from more import three

class A:
    def get(self):
        import late
        return helper.ONE + pkg.deep.ONE + late.ONE + three() - 3
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: Cells) -> Callable[[str], Any]:
    """Return a function that captures class A of a notebook that has helpers beside it; it returns the reference."""
    helpers = {"helper": "import other\nONE = other.ONE", "other": "ONE = 1", "late": "from pkg import ONE"}
    helpers |= {"pkg/__init__": "ONE = 1", "pkg/deep": "from . import ONE", "../more/more": "def three(): return 3"}
    for name, text in helpers.items():
        file = tmp_path / "here" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def taken(script: str = SCRIPT) -> str:
        before = {*sys.modules}
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(tmp_path / "here"), *sys.path])
            file = capture(cells(script.format(more=str(tmp_path / "more"))).A).write(tmp_path / "tasks")
        for name in {*sys.modules} - before:
            if name.partition(".")[0] in ("helper", "other", "late", "pkg", "more", "gone"):
                del sys.modules[name]
        return f"{file}:A"

    return taken


def test_modules_beside_a_script_are_found_in_any_folder_and_count_in_the_fingerprint(
    beside: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = beside(SCRIPT)
    monkeypatch.chdir("/")
    assert load_class(reference)().get() == 3  # pyright: ignore[reportAttributeAccessIssue]
    before = fingerprint(load_class(reference))
    (tmp_path / "here" / "other.py").write_text("ONE = 2")
    assert fingerprint(load_class(reference)) != before


def test_a_module_beside_a_script_that_is_gone_is_named_with_its_folder(
    beside: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "here" / "gone.py").write_text("ONE = 1")
    reference = beside("import gone\nclass A:\n    n = gone.ONE")
    (tmp_path / "here" / "gone.py").unlink()
    with pytest.raises(BadInput, match=rf"No module named 'gone'; .* it was in {tmp_path}/here.* \(a.py, line 5\)$"):
        load_class(reference)


def test_a_module_that_is_in_no_file_is_refused(cells: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_up", ModuleType("made_up"))
    kind = cells("import made_up", "class A:\n    def get(self): return made_up").A
    with pytest.raises(BadInput, match="a notebook, `import made_up`, imports made_up, a module of which there is no"):
        capture(kind)
