"""Writes what docs/ can take from the program itself: fields of a spec, help of commands, schedules, optimizers.

`python docs/build.py` rewrites what stands between the marks of its pages; `--check` says what would change.
"""

import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

DOCS = Path(__file__).resolve().parent
BEGIN, END = "<!-- made by docs/build.py -->", "<!-- end -->"


# --- the spec --------------------------------------------------------------------------------------------------------


def spec_pages() -> str:
    """Return the fields of a spec as tables, one for the spec itself and one for each of its parts."""
    from espalier.sweeps.spec.spec import SweepSpec

    schema = SweepSpec.model_json_schema()
    parts = schema.pop("$defs")
    tables = [_table(schema, parts)]  # a "domain" is explained on the page, before them
    for name in _parts_in_order(schema, parts):
        summary = _one_line(parts[name].get("description", ""))
        tables.append(f"### {_heading(name, schema, parts)}\n\n{summary}\n\n{_table(parts[name], parts)}")
    return "\n\n".join(tables)


def _parts_in_order(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    """Return the names of the parts that are mappings of fields, in the order in which the spec names them."""
    names: dict[str, None] = {}
    waiting = [schema]
    while waiting:
        for field in waiting.pop(0).get("properties", {}).values():
            for name in _references(field):
                if name not in names and "properties" in parts[name]:
                    names[name] = None
                    waiting.append(parts[name])
    return list(names)


def _heading(part: str, schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    for name, field in schema["properties"].items():
        if part in _references(field):
            return f"`{name}`"
    return {
        "Range": "A range",
        "Choice": "A choice",
        "Constant": "A constant under a condition",
        "DecayPoints": "`space.decay_points` as a range",
    }.get(part, part)


def _references(field: Any) -> list[str]:
    """Return the parts that a field's schema refers to, in order."""
    if isinstance(field, Mapping):
        own = [field["$ref"].rpartition("/")[2]] if "$ref" in field else []
        return own + [name for value in field.values() for name in _references(value)]
    return [name for value in field for name in _references(value)] if isinstance(field, list) else []


def _table(part: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    required = part.get("required", [])
    rows = ["| field | takes | default | what it is |", "|---|---|---|---|"]
    for name, field in part["properties"].items():
        default = "required" if name in required else _default(field)
        rows.append(f"| `{name}` | {_takes(field, parts)} | {default} | {_one_line(field.get('description', ''))} |")
    return "\n".join(rows)


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default", ...)
    if value is ... or isinstance(value, Mapping) or value in ([], None):
        return ""
    return f"`{json.dumps(value)}`"


LIMITS = {"minimum": ">= {}", "exclusiveMinimum": "> {}", "maximum": "<= {}", "exclusiveMaximum": "< {}"}


def _takes(field: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """Say in a few words what values a field takes."""
    if "$ref" in field:
        part = parts[field["$ref"].rpartition("/")[2]]
        return (
            _takes(part, parts) if "enum" in part else "fields, below" if "properties" in part else _takes(part, parts)
        )
    if "#/$defs/Range" in json.dumps(field):
        return "a domain"
    for several in ("anyOf", "oneOf"):
        if several in field:
            options = [_takes(option, parts) for option in field[several] if option.get("type") != "null"]
            return " or ".join(dict.fromkeys(options))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    limits = [text.format(f"{field[name]:g}") for name, text in LIMITS.items() if name in field]
    kind = {
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
        "boolean": "true, false",
        "array": f"a list of {_plural(field.get('items') or field.get('prefixItems'), parts)}",
        "object": "a mapping",
    }.get(field.get("type", ""), "a value")
    return " ".join([kind, ", ".join(limits)]).strip()


def _plural(items: Any, parts: Mapping[str, Any]) -> str:
    if not isinstance(items, Mapping):
        return "values"
    text = _takes(items, parts)
    return {"a number": "numbers", "a text": "texts", "a whole number": "whole numbers"}.get(text, f"({text})")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- the command line ------------------------------------------------------------------------------------------------


def command_pages() -> str:
    """Return the help of every command, as `sweep COMMAND --help` prints it at 88 columns."""
    from espalier.services.cli import main as command

    pages = []
    for path in _commands(command, ("sweep",)):
        pages.append(f"{'#' * min(2 + len(path) - 1, 3)} {' '.join(path)}\n\n```text\n{_help(path)}\n```")
    return "\n\n".join(pages)


def _commands(command: click.Command, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    paths = [path]
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner and not inner.hidden:
                paths += _commands(inner, (*path, name))
    return paths


def _help(path: tuple[str, ...]) -> str:
    from espalier.services.cli import main as command

    inner: click.Command = command
    settings = {**inner.context_settings, "terminal_width": 88, "max_content_width": 88}
    context = click.Context(inner, info_name="sweep", **settings)
    for name in path[1:]:
        assert isinstance(inner, click.Group)
        inner = inner.get_command(context, name) or inner
        context = click.Context(inner, info_name=name, parent=context, terminal_width=88, max_content_width=88)
    return "\n".join(line.rstrip() for line in inner.get_help(context).strip().splitlines())


# --- schedules and optimizers ----------------------------------------------------------------------------------------


def schedule_pages() -> str:
    """Return a table of the schedules: what each does, and the numbers that it takes."""
    from espalier.core.schedules.registry import SCHEDULES

    rows = ["| `schedule` | the rate, after an optional linear warm-up | decay points | numbers |", "|---|---|---|---|"]
    for name in SCHEDULES:
        schedule = SCHEDULES[name]
        points = f"up to {schedule.decay_points}" if schedule.decay_points > 1 else str(schedule.decay_points or "")
        points += f"; without one {schedule.turn:g}" if schedule.turn else ""
        rows.append(f"| `{name}` | {_summary(schedule)} | {points} | {_numbers(schedule.numbers)} |")
    return "\n".join(rows)


def optimizer_pages() -> str:
    """Return a table of the optimizers: what each is, and the numbers that it takes."""
    from espalier.core.optimizers.registry import OPTIMIZERS

    rows = ["| `optimizer` | update rule | numbers and their defaults |", "|---|---|---|"]
    rows += [f"| `{n}` | {_summary(OPTIMIZERS[n])} | {_numbers(OPTIMIZERS[n].numbers)} |" for n in OPTIMIZERS]
    return "\n".join(rows)


def _summary(kind: type) -> str:
    """Return the first paragraph of a class's docstring."""
    return _one_line((inspect.getdoc(kind) or "").split("\n\n")[0])


def _numbers(numbers: Iterable[Any]) -> str:
    """Return numbers and flags with their defaults and limits."""
    texts = []
    for number in numbers:
        limits = f" in {number.limits}" if hasattr(number, "limits") else ""
        default = str(number.default).lower() if isinstance(number.default, bool) else f"{number.default:g}"
        texts.append(f"`{number.name}` {default}{limits}: {number.doc}")
    return "<br>".join(texts)


# --- the pages -------------------------------------------------------------------------------------------------------

PAGES = {
    "spec.md": spec_pages,
    "cli.md": command_pages,
    "schedules.md": schedule_pages,
    "optimizers.md": optimizer_pages,
}


def built(name: str) -> str:
    """Return a page with what stands between its marks made anew."""
    text = (DOCS / name).read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{PAGES[name]()}\n\n{END}{rest.split(END, 1)[1]}"


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with --check only say which differ."""
    stale = [name for name in PAGES if built(name) != (DOCS / name).read_text(encoding="utf-8")]
    if "--check" in arguments:
        print("\n".join(f"docs/{name}: run `make docs`" for name in stale))
        return bool(stale)
    for name in stale:
        (DOCS / name).write_text(built(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
