"""Variables are called after what they hold: a participle says what was done to it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("core", "sweeps", "services", "espalier")
PARTICIPLES = {"found", "given", "said", "kept", "made"}


def variables(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that functions give to values, with their lines; the fields of classes may be in stored files."""
    fields = {
        id(node.target)
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
        if isinstance(node, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno


def test_a_variable_is_called_after_what_it_holds() -> None:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 400
    assert [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in files
        for name, line in variables(ast.parse(file.read_text(encoding="utf-8")))
        if name in PARTICIPLES
    ] == []
