"""The report as a person sees it, in a headless Chromium: all drawn, sorted, filtered, and nothing fetched."""

import time
from html import escape
from pathlib import Path
from typing import Any

import pytest

from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure
from espalier.sweeps.report.page import page_of
from tests.chromium import chromium, pictures_of
from tests.sweeps.report.browser import DARK, look_at, needs_chromium
from tests.sweeps.report.made import KINDS, material_of

pytestmark = pytest.mark.slow
MOST_BYTES = 3_000_000
EVERYTHING = """
const colours = (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let k = 0; k < data.length; k += 4) seen.add((data[k] << 16) | (data[k + 1] << 8) | data[k + 2]);
  return seen.size;
};
const charts = [...document.querySelectorAll(".chart")];
const canvases = charts.map((chart) => chart.querySelector("canvas"));
return {
  drawn: Object.fromEntries(charts.map((chart, k) => [chart.id, canvases[k] ? colours(canvases[k]) : 0])),
  wide: charts.filter((chart) => chart.scrollWidth > chart.clientWidth + 1).map((chart) => chart.id),
  narrow: charts.filter((chart) => Number(chart.dataset.plot) < 0.4 * chart.clientWidth).map((chart) => chart.id),
  page: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  fetched: performance.getEntriesByType("resource").map((entry) => entry.name),
  images: document.images.length,
  milliseconds: Number(document.documentElement.dataset.drawn),
};
"""
TABLE = """
const table = document.getElementById("table");
const body = table.tBodies[0];
const column = (place) => [...body.rows].map((row) => row.cells[place].textContent);
const head = (place) => table.tHead.rows[0].cells[place];
const press = (place) => head(place).querySelector("button").click();
const count = () => document.getElementById("count").textContent;
const choose = (id, text, event) => {
  const field = document.getElementById(id);
  field.value = text;
  field.dispatchEvent(new Event(event));
};
const found = { all: count(), first: column(0)[0] };
press(0);
found.up = column(0);
found.sort = head(0).getAttribute("aria-sort");
press(0);
found.down = column(0);
press(1);
found.values = column(1);
press(1);
found.worst = column(1);
choose("filter", "diverged", "input");
found.filtered = column(2);
found.count = count();
choose("filter", "no such word", "input");
found.none = column(0);
choose("filter", "", "input");
choose("verdict", "hot", "change");
found.hot = column(3);
choose("verdict", "", "change");
const button = body.rows[0].querySelector("button");
button.click();
found.open = button.getAttribute("aria-expanded");
found.story = body.rows[1].textContent;
found.curves = body.rows[1].querySelectorAll("polyline").length;
button.click();
found.closed = body.rows[1].className;
found.before = body.rows.length;
document.getElementById("more").click();
found.after = body.rows.length;
const reached = document.querySelectorAll(".chart, .links button, #table button, #filter");
found.focusable = [...reached].every((each) => each.tabIndex === 0);
return found;
"""


@pytest.fixture(autouse=True)
def _chromium() -> None:
    needs_chromium()


@pytest.mark.parametrize("looks", ["light", "dark", "phone"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_drawn_and_nothing_is_fetched(kind: str, looks: str, tmp_path: Path) -> None:
    document = Document.of(material_of(60, KINDS[kind]))
    options = [DARK] if looks == "dark" else []
    seen = look_at(page_of(document), EVERYTHING, tmp_path, *options, width=500 if looks == "phone" else 1100)
    assert seen.console == []
    drawn = {f"chart-{figure.name}" for figure in document.figures if isinstance(figure, Figure)}
    assert set(seen.found["drawn"]) == drawn
    assert all(colours > 5 for colours in seen.found["drawn"].values()), seen.found["drawn"]
    assert seen.found["fetched"] == [] and seen.found["images"] == 0
    assert seen.found["narrow"] == []  # names beside a plot leave it room
    assert seen.found["wide"] == [] and seen.found["page"] <= 0  # nothing has to be scrolled sideways but the table


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_page_of_few_trials_draws_what_it_has(size: int, tmp_path: Path) -> None:
    for kind in KINDS:
        seen = look_at(page_of(Document.of(material_of(size, KINDS[kind]))), EVERYTHING, tmp_path)
        assert seen.console == [] and all(colours > 2 for colours in seen.found["drawn"].values())


def test_the_table_sorts_filters_and_tells_stories(tmp_path: Path) -> None:
    material = material_of(80)
    found: dict[str, Any] = look_at(page_of(Document.of(material)), TABLE, tmp_path).found
    assert found["all"] == "80 of 80" and found["sort"] == "ascending"
    assert found["up"] == [str(n) for n in range(50)] and found["down"] == [str(79 - n) for n in range(50)]
    complete = sorted(t.value for t in material.trials if t.value is not None)
    shown = [float(text) for text in found["values"] if text]
    assert shown == pytest.approx(complete[:50], rel=1e-4)
    worst = [float(text) for text in found["worst"] if text]
    assert worst == pytest.approx(complete[::-1][:50], rel=1e-4)  # what has no value is last in either direction
    diverged = sum(t.state == "diverged" for t in material.trials)
    assert found["filtered"] == ["diverged"] * diverged and found["count"] == f"{diverged} of 80"
    assert found["none"] == [] and set(found["hot"]) == {"hot"}
    assert found["open"] == "true" and found["curves"] == 1 and "lr_exponent" in found["story"]
    assert found["closed"] != "story" and (found["before"], found["after"]) == (50, 80)
    assert found["focusable"]


@pytest.mark.parametrize("kind", ["lanes", "a function with choices and a condition", "hostile names"])
def test_two_thousand_trials_are_a_page_of_less_than_three_megabytes(kind: str, tmp_path: Path) -> None:
    begin = time.monotonic()
    text = page_of(Document.of(material_of(2000, KINDS[kind])))
    made_s = time.monotonic() - begin
    seen = look_at(text, EVERYTHING, tmp_path)
    assert len(text.encode()) < MOST_BYTES and seen.console == []
    assert all(colours > 5 for colours in seen.found["drawn"].values())
    print(
        f"{kind}: {len(text.encode()) / 1e6:.2f} MB, made in {made_s:.2f} s, drawn in {seen.found['milliseconds']} ms"
    )


def alternative_texts(document: Document) -> list[tuple[str, str]]:
    """Return the role and the name that each figure has for who cannot see it, in reading order."""
    return [("image", figure.alt) for figure in document.figures if isinstance(figure, Figure)]


@pytest.mark.parametrize("kind", ["lanes", "a function with choices and a condition", "hostile names"])
def test_a_figure_that_is_drawn_is_named_by_its_alternative_text_alone(kind: str, tmp_path: Path) -> None:
    """In the accessibility tree, where Vega would call each a visualization; also once it is drawn again."""
    document = Document.of(material_of(60, KINDS[kind]))
    page = tmp_path / "page.html"
    page.write_text(page_of(document), encoding="utf-8")
    with chromium() as browser:
        tab = browser.tab()
        tab.go(page.as_uri())
        tab.until("document.documentElement.dataset.drawn", "its figures")
        assert pictures_of(tab) == alternative_texts(document)
        tab.resize(420, 900, dark=True)
        tab.until("[...document.querySelectorAll('.chart')].every((each) => each.dataset.width < 420)", "narrow ones")
        assert pictures_of(tab) == alternative_texts(document)


LOOKS = """
const { display } = getComputedStyle(document.querySelector("h1"));
return { display, margin: document.querySelector(".lead").getBoundingClientRect().left };
"""


def test_in_a_frame_of_mlflow_or_another_it_has_its_title_and_its_margin(tmp_path: Path) -> None:
    """MLflow shows an artifact in a frame without origin, as the service's page does, which asks for neither."""
    document = Document.of(material_of(12, KINDS["lanes"]))
    report = tmp_path / "report.html"
    report.write_text(page_of(document), encoding="utf-8")
    page = tmp_path / "page.html"
    frame = f'<iframe sandbox="allow-scripts" srcdoc="{escape(report.read_text())}" width=900 height=700></iframe>'
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{frame}", encoding="utf-8")
    needs_chromium()
    with chromium() as browser:
        tab = browser.tab()
        tab.go(page.as_uri())
        tab.until("document.documentElement.dataset.drawn", "its figures", in_frame=True)
        looks = tab.run(LOOKS, in_frame=True)
        assert pictures_of(tab, in_frame=True) == alternative_texts(document)
    assert looks["display"] != "none" and looks["margin"] >= 10
