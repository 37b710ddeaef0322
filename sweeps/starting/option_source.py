"""Options in a source: calls of `add_argument` and of `click.option`, and of the sources beside it that it imports."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from espalier.sweeps.starting.arguments import UNKNOWN, Argument, by_name, kind_of
from espalier.sweeps.starting.python_source import MISSING, Source, value_of

PARSERS = frozenset(
    """
    argparse click typer docopt absl fire tyro jsonargparse simple_parsing configargparse hydra
    optparse getopt tap draccus cyclopts
    """.split()  # noqa: SIM905
)
"""Packages that read a command line; sys.argv is read by hand."""
MADE_BY_OTHERS = ("HfArgumentParser", "LightningCLI")  # parsers of packages that are imported for other things, too
SOURCES_MOST = 40  # modules beside a script that are read
_FLAGS = {"store_true": False, "store_false": True}
SWITCH = ("true", "false")  # what is written after an option that takes a truth as a value
_SWITCHES = ("str2bool", "strtobool", "str_to_bool", "boolean", "parse_bool", "_str_to_bool", "bool_flag")


def options(sources: list[Source]) -> list[Argument]:
    """Return the options that sources declare, in their order."""
    arguments: list[Argument] = []
    for source in sources:
        constants = source.constants
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and (argument := _option(node, constants)):
                arguments.append(argument)
    return [*by_name(arguments).values()]


def reads_a_command_line(sources: list[Source]) -> bool:
    """Whether a script, or what it imports from beside it, has a parser of the command line."""
    return any(_parses(node) for source in sources for node in ast.walk(source.tree))


def _parses(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in PARSERS for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names}
        return (node.module or "").split(".")[0] in PARSERS or bool(names & {*MADE_BY_OTHERS})
    return isinstance(node, ast.Attribute) and node.attr in ("argv", *MADE_BY_OTHERS)


def with_local_imports(script: Source) -> list[Source]:
    """Return the source of a script and of the modules beside it that it imports, as far as they can be read."""
    sources, waiting, seen = [script], [script], {script.path.resolve()}
    while waiting and len(sources) < SOURCES_MOST:
        for path in _local_imports(waiting.pop(0), script.path.parent):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            try:
                read = Source.read(path, "")
            except ValueError:
                continue
            sources.append(read)
            waiting.append(read)
    return sources


def _local_imports(source: Source, root: Path) -> Iterator[Path]:
    for node in ast.walk(source.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)]
        for name in filter(None, names):
            for folder in {root, source.path.parent}:
                place = folder / Path(*name.split("."))
                yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())


def _option(node: ast.Call, constants: Mapping[str, Any]) -> Argument | None:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in ("add_argument", "option"):
        return None
    spellings = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    keywords = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    known = {key: value_of(value, constants) for key, value in keywords.items()}
    if not spellings or (name == "option" and not spellings[0].startswith("-")):
        return None
    pairs = [part for spelling in spellings for part in spelling.split("/")]
    longs = [part.strip() for part in pairs if part.startswith("--")]
    option = (longs or pairs)[0]
    kind, switch = _kind(keywords.get("type"), known), name == "option"
    if not switch and kind == "bool" and "type" in keywords:
        kind, switch = "str", ast.unparse(keywords["type"]) != "bool"  # type=bool takes every text for true
    off = next((part for part in longs if part.startswith(("--no-", "--no_"))), "")
    optional = isinstance(keywords.get("action"), ast.expr) and "BooleanOptional" in ast.unparse(keywords["action"])
    if known.get("action") in _FLAGS or known.get("is_flag") is True or (len(longs) > 1 and off) or optional:
        on = known.get("default") is True and known.get("action") not in _FLAGS
        spelled = (off or f"--no-{option[2:]}") if on and (off or optional) else option
        return Argument(spelled.lstrip("-"), spelled, "bool", False, flag=True, turns_off=on)
    choices = _choices(keywords.get("choices"), keywords.get("type"), constants)
    return Argument(
        option.lstrip("-"),
        option,
        kind,
        _value(known.get("default", MISSING)),
        SWITCH if kind == "bool" or (switch and kind == "str" and name == "add_argument") else choices,
        count=_count(known),
        required=known.get("required") is True or (not option.startswith("-") and known.get("nargs") not in ("?", "*")),
    )


def _value(value: Any) -> Any:
    return None if value is MISSING else value


def _kind(node: ast.expr | None, known: Mapping[str, Any]) -> str:
    word = ast.unparse(node).rpartition(".")[2] if node is not None else ""
    if word in ("float", "int", "bool", "str"):
        return word
    if word.lower() in ("floatrange", "intrange", "path") or word.startswith(("FloatRange", "IntRange", "Path")):
        return {"f": "float", "i": "int", "p": "str"}[word[0].lower()]
    if word in _SWITCHES:
        return "bool"
    default = known.get("default", MISSING)
    return UNKNOWN if default is MISSING else kind_of(default)


def _choices(node: ast.expr | None, kind: ast.expr | None, constants: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the choices of argparse's `choices=`, or of click's `type=click.Choice(...)`."""
    if node is None and isinstance(kind, ast.Call) and ast.unparse(kind.func).endswith("Choice") and kind.args:
        node = kind.args[0]
    value = value_of(node, constants)
    if isinstance(value, list | tuple | set | dict):
        return tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return ()


def _count(known: Mapping[str, Any]) -> int:
    count = known.get("nargs", 1)
    return count if isinstance(count, int) and count > 1 else 1
