"""The report as one HTML file: nothing is fetched, names stay text, all that is drawn is there."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure, Missing
from espalier.sweeps.report.page import page_of
from espalier.sweeps.report.pictures import png
from espalier.sweeps.report.writing import write_report
from tests.sweeps.report.made import BAD, FUNCTION, KINDS, LANES, material_of


class Page(HTMLParser):
    """A page as a browser reads it: its tags with their attributes, the text of its scripts, and all other text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.words.append(data)


def data_of(page: Page) -> dict[str, Any]:
    return json.loads(page.scripts[0])


@pytest.mark.parametrize("size", [0, 5, 60])
def test_names_are_text_in_the_page_and_values_in_its_data(size: int) -> None:
    """A page of hostile names has the tags of one with tame names, and says the names as they are."""
    hostile = Document.of(material_of(size, KINDS["hostile names"]))
    page = Page(page_of(hostile))
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "a",
        "main",
        "header",
        "h1",
        "h2",
        "p",
        "ul",
        "li",
        "sup",
    }
    allowed |= {"section", "div", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "label", "input"}
    allowed |= {
        "select",
        "option",
        "button",
        "span",
        "noscript",
        "pre",
        "details",
        "summary",
        "dl",
        "dt",
        "dd",
        "script",
    }
    assert {tag for tag, _ in page.tags} <= allowed | {"code"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert len(page.scripts) == 3
    data = data_of(page)
    assert BAD in data["trials"]["titles"]
    assert BAD in " ".join(page.words)  # in the spec
    if size:
        assert any(BAD in story[0] for story in data["trials"]["stories"])
        assert BAD in data["trials"]["hyperparameters"]


def test_a_page_fetches_nothing() -> None:
    page = Page(page_of(Document.of(material_of(9))))
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert not [a for _, a in page.tags if a.get("src") or (a.get("href") or "#")[0] != "#"]
    assert "@import" not in page_of(Document.of(material_of(1))).split("</style>")[0]


def test_every_figure_has_a_place_an_alternative_text_and_its_data() -> None:
    document = Document.of(material_of(60, FUNCTION))
    text = page_of(document)
    page, drawn = Page(text), [figure for figure in document.figures if isinstance(figure, Figure)]
    places = {a["id"]: a for _, a in page.tags if (a.get("id") or "").startswith("chart-")}
    assert set(places) == {f"chart-{figure.name}" for figure in drawn}
    assert all(a["role"] == "img" and a["aria-label"] and a["tabindex"] == "0" for a in places.values())
    figures = {figure["name"]: figure for figure in data_of(page)["figures"]}
    for figure in drawn:
        tables = figures[figure.name]["tables"]
        assert {name: len(table["rows"]) for name, table in tables.items()} == {
            name: len(table.rows) for name, table in figure.tables.items()
        }
        inside = {part["name"] for part in figures[figure.name]["chart"]["data"]}
        assert set(tables) >= {name for name in inside if name in figure.tables} and inside
    left_out = [figure for figure in document.figures if isinstance(figure, Missing)]
    assert left_out and all(figure.why in " ".join(page.words) for figure in left_out)


def test_the_table_has_every_trial_with_its_story_and_the_rate_as_a_rate() -> None:
    material = material_of(60)
    trials = data_of(Page(page_of(Document.of(material))))["trials"]
    assert len(trials["rows"]) == len(trials["stories"]) == 60
    assert trials["titles"][:6] == ["trial", "valid_loss", "state", "verdict", "rate", "lr_exponent"]
    by_number = {t.number: t for t in material.trials}
    for row, (evidence, params, _) in zip(trials["rows"], trials["stories"], strict=True):
        trial = by_number[row[0]]
        assert evidence == trial.evidence and row[2] == trial.state
        assert float(params[trials["hyperparameters"].index("lr_exponent")]) == pytest.approx(row[5], rel=1e-3)
        assert row[4] == pytest.approx(10 ** row[5], rel=1e-3)


@pytest.mark.parametrize("kind", ["lanes", "hostile names"])
def test_every_sentence_of_the_answer_is_in_the_page_as_text(kind: str) -> None:
    """So what a person asks of it - which rate, may I double it, was anything wrong - is answered there too."""
    document = Document.of(material_of(60, KINDS[kind]))
    text = "".join(Page(page_of(document)).words)
    for sentence in document.subject.answer.sentences:
        assert sentence.replace("^", "") in text.replace("^", "")


def test_the_commands_of_a_page_are_those_of_its_home() -> None:
    text = page_of(Document.of(material_of(9, option=" --home '/a b'")))
    assert "sweep best made-20261130-0a1b --home &#x27;/a b&#x27; &gt; best.yaml" in text
    assert "sweep rerun best.yaml" in text


def test_a_report_is_written_beside_the_work_unless_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    document = Document.of(material_of(3))
    assert write_report(document) == Path("report-made-20261130-0a1b.html")
    assert write_report(document, tmp_path / "mine.html").read_text() == page_of(document)
    with pytest.raises(BadInput, match=r"no/such.html: cannot be written \(No such file or directory\); name another"):
        write_report(document, tmp_path / "no" / "such.html")


def test_a_picture_is_a_png_on_white(tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    figure = Document.of(material_of(20)).figure("valley")
    assert isinstance(figure, Figure)
    with Image.open(BytesIO(png(figure))) as image:
        assert image.format == "PNG" and image.width > 1000
        assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
        assert len(image.convert("RGB").getcolors(10**6) or []) > 10


def test_the_command_writes_the_page_of_a_sweep(sweep: Any, small_sweep: Any, tmp_path: Path) -> None:
    said = sweep("report", "small", "--home", str(small_sweep.home))
    assert said.exit_code == 0, said.output
    file = f"report-{small_sweep.id}.html"
    assert said.stdout == f"{file}: the report of {small_sweep.id}; open it in a browser\n"
    page = Page((tmp_path / file).read_text())
    assert len(data_of(page)["trials"]["rows"]) == 9
    assert re.search(r"sweep best small-\S+ --home", " ".join(page.words))
    missing = sweep("report", "smal", "--home", str(small_sweep.home))
    assert missing.exit_code == 2 and "smal" in missing.output


def test_the_table_has_the_seed_where_it_was_searched() -> None:
    document = Document.of(material_of(12, LANES | {"space": LANES["space"] | {"seed": [0, 1, 2]}}))
    place = document.columns().index("seed")
    seeds = [row[place] for row in document.rows()]
    assert seeds == [t.params["seed"] for t in document.order] and len(set(seeds)) == 3
    assert "seed" not in Document.of(material_of(12)).columns()
