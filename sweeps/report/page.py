"""The report as one HTML page that needs no network: its text, its data, its style and its scripts are in the file.

Whatever an author has named is escaped: as text in HTML, and in the data so that no tag can begin or end there. The
script writes names as text alone. A page's own policy lets it fetch nothing.
"""

import html
import json
import re
from importlib import resources
from string import Template

from espalier.core.errors import brief
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import DARK, DARK_INK, LIGHT, LIGHT_INK, Figure, Missing, Table
from espalier.sweeps.report.pictures import compiled, javascript
from espalier.sweeps.results.formatting import decimals

LINE_MOST = 2000  # characters of a sentence


def page_of(document: Document) -> str:
    """Return a report as the text of an HTML file."""
    lead, *others = document.subject.answer.sentences
    return Template(_file("page.html")).substitute(
        title=_escaped(document.material.id),
        style=_file("page.css"),
        status=_escaped(document.status),
        lead=_sentence(lead),
        sentences=_listed(others),
        gain=_gain(document),
        figures="\n".join(_section(figure) for figure in document.figures if isinstance(figure, Figure)),
        missing=_missing([figure for figure in document.figures if isinstance(figure, Missing)]),
        commands=_commands(document),
        facts=_facts(document),
        spec=_escaped(document.material.spec.as_yaml()),
        data=embedded(_data(document)),
        vega=javascript(),
        script=_file("page.js"),
    )


def _file(name: str) -> str:
    return resources.files("espalier.sweeps.report").joinpath(name).read_text(encoding="utf-8")


def _escaped(text: object) -> str:
    return html.escape(str(text))


def embedded(value: object) -> str:
    """Return a value without NaN and infinity as JSON that can stand in a script of an HTML page.

    >>> embedded("</script><!--")
    '"\\\\u003c/script\\\\u003e\\\\u003c!--"'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sentence(text: str) -> str:
    """Return a sentence as HTML: powers of ten are raised, commands are code."""
    escaped = _escaped(brief(text, LINE_MOST))
    raised = re.sub(r"10\^(-?\d*\.?\d+)", r'<span class="power">10<sup>\1</sup></span>', escaped)
    return re.sub(r"(--set [^ =]+=&#x27;.*?&#x27;)", r"<code>\1</code>", raised)


def _listed(sentences: list[str]) -> str:
    items = "\n".join(f"<li>{_sentence(each)}</li>" for each in sentences)
    return f'<ul class="answer">\n{items}\n</ul>' if items else ""


def _gain(document: Document) -> str:
    """Return what tuning gained over untuned runs, as a table."""
    gains = document.subject.answer.gain
    if not gains:
        return ""
    rows = [
        f'<tr><td>{_escaped(each.title)}</td><td class="number">{decimals(each.value)}</td>'
        f'<td class="number">{decimals(each.gain)}</td></tr>'
        for each in gains
    ]
    number = '<th class="number">'
    head = f"<tr><th>untuned</th>{number}{_escaped(document.subject.metric)}</th>{number}gained</th></tr>"
    title = '<h2 id="gain-title">What tuning gained</h2>'
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<section id="gain" aria-labelledby="gain-title">{title}<div class="wide">{table}</div></section>'


def _section(figure: Figure) -> str:
    name = figure.name
    title = f'<h2 id="title-{name}">{_escaped(figure.title)}</h2>'
    drawing = '<div aria-hidden="true"></div>'  # on it Vega writes a role and a name of its own
    named = f'role="img" tabindex="0" aria-label="{_escaped(figure.alt)}"'
    chart = f'<div class="chart" id="chart-{name}" {named}>{drawing}</div>'
    links = f'<div class="links" id="links-{name}"></div>'
    body = f"<figure>{chart}<figcaption>{_escaped(figure.text)}</figcaption></figure>{links}"
    return f'<section id="figure-{name}" aria-labelledby="title-{name}">{title}{body}</section>'


def _missing(figures: list[Missing]) -> str:
    """Return the sentences on figures that are left out."""
    if not figures:
        return ""
    names = [each.title if each.title.endswith("?") else f"{each.title}:" for each in figures]
    items = "\n".join(f"<li>{_escaped(f'{name} {each.why}')}</li>" for name, each in zip(names, figures, strict=True))
    title = '<h2 id="left-title">Left out</h2>'
    return f'<section id="left-out" aria-labelledby="left-title">{title}<ul class="note">\n{items}\n</ul></section>'


def _commands(document: Document) -> str:
    return "\n".join(f"<p>{_escaped(what)}:</p>\n<pre>{_escaped(line)}</pre>" for what, line in document.commands())


def _facts(document: Document) -> str:
    pairs = document.material.facts.items()
    items = "".join(f"<dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd>" for name, value in pairs)
    return f"<details><summary>What it was trained with</summary><dl>{items}</dl></details>" if items else ""


def _data(document: Document) -> dict[str, object]:
    """Return what the page's script draws and lists."""
    best, material = document.subject.best, document.material
    figures = [figure for figure in document.figures if isinstance(figure, Figure)]
    stories = [(story.evidence, story.params, story.curve) for story in document.stories()]
    trials = {
        "titles": document.columns(),
        "rows": document.rows(),
        "stories": stories,
        "metric": document.subject.metric,
        "curve": "training loss" if material.traces else document.subject.metric,
        "hyperparameters": document.hyperparameters,
    }
    return {
        "id": material.id,
        "option": material.option,
        "best": best and best.number,
        "themes": _themes(figures[0]) if figures else {},
        "figures": [_drawn(figure) for figure in figures],
        "trials": trials,
    }


def _themes(figure: Figure) -> dict[str, object]:
    """Return the looks of any figure on white and on black, in Vega's words, each with the colour of its ink."""
    both = (("light", LIGHT, LIGHT_INK), ("dark", DARK, DARK_INK))
    return {name: {"config": compiled(figure, config)["config"], "ink": ink} for name, config, ink in both}


def _drawn(figure: Figure) -> dict[str, object]:
    """Return what the page's script draws a figure by."""
    tables = {name: _plain(table) for name, table in figure.tables.items()}
    chart = {name: part for name, part in compiled(figure).items() if name not in ("$schema", "config", "description")}
    return {"name": figure.name, "chart": chart, "tables": tables}


def _plain(table: Table) -> dict[str, object]:
    return {"columns": [(column.key, column.title) for column in table.columns], "rows": table.rows}
