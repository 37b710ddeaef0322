"""The service's page as a person uses it, in a headless Chromium: who comes in, what is seen, what may be done.

That nothing is fetched from elsewhere, that the console is silent and that no token is in an address holds in all.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from espalier.services.database.store import Store
from espalier.services.database.tables import State
from espalier.services.settings import Settings
from tests.chromium import Browser, Tab, chromium
from tests.services.conftest import spec
from tests.services.http.asking import Token as Make
from tests.services.http.holding import hold, put, submission

DRAWN = "document.documentElement.dataset.drawn"
COLOURS = """
const colours = (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let k = 0; k < data.length; k += 4) seen.add((data[k] << 16) | (data[k + 1] << 8) | data[k + 2]);
  return seen.size;
};
return [...document.querySelectorAll(".chart canvas")].map(colours);
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def tab(browser: Browser, client: httpx.Client) -> Iterator[Tab]:
    """A tab in which nothing but the service may be asked, and nothing may go wrong but what the service refuses."""
    tab = browser.tab()
    yield tab
    refusals = ("Failed to load resource: the server responded with a status of", "net::ERR_CONNECTION")
    assert [line for line in tab.console if not any(each in line for each in refusals)] == []
    secrets = ("sweep_", "Bearer", "%20sweep_")
    for request in tab.asked:
        assert request["url"].startswith((str(client.base_url), "about:", "blob:")), request["url"]
        assert not any(secret in request["url"] for secret in secrets), request["url"]
    assert not any("sweep_" in line for line in tab.console)
    tab.close()


def secret_of(header: dict[str, str]) -> str:
    return header["Authorization"].removeprefix("Bearer ")


def come_in(tab: Tab, client: httpx.Client, header: dict[str, str], place: str = "") -> None:
    """Open the page with a token."""
    tab.go(f"{client.base_url}/{place}")
    tab.until("document.querySelector('#token')", "the question for a token")
    tab.type("#token", secret_of(header))
    tab.key("Enter", 13)
    tab.until("document.querySelector('#who')?.textContent", "who came in")


def column(tab: Tab, place: int) -> list[str]:
    rows = f"[...document.querySelectorAll('#table tbody tr')].map((row) => row.cells[{place}].innerText.trim())"
    return tab.run(f"return {rows};")


# --- in `make test` --------------------------------------------------------------------------------------------------


def test_a_person_comes_in_by_a_token_and_reads_the_report(
    tab: Tab, client: httpx.Client, token: Make, store: Store, settings: Settings, small_sweep: Any
) -> None:
    who = token()
    sweep = hold(store, settings.home, small_sweep)
    markup = "<script>boom()</script>"
    put(store, submission("other-20260101-abcd", spec("other"), state=str(State.FAILED), reason=markup))
    tab.go(str(client.base_url))
    tab.until("document.activeElement?.id === 'token'", "the question for a token")
    tab.type("#token", "sweep_0123456789ab_" + "A" * 43)
    tab.key("Enter", 13)
    tab.until("document.querySelector('#wrong').innerText.includes('does not know this token')", "that it is refused")
    assert tab.run("return sessionStorage.length;") == 0
    tab.type("#token", secret_of(who))
    tab.key("Enter", 13)
    tab.until("document.documentElement.dataset.listed === '2'", "the list")
    assert "ada (submit)" in tab.text() and secret_of(who) not in tab.run("return document.documentElement.outerHTML;")
    assert column(tab, 0) == ["other-20260101-abcd", sweep]  # the newest first
    tab.press("thead button")
    tab.press("thead button")
    assert column(tab, 0) == [sweep, "other-20260101-abcd"]
    assert tab.run("return document.querySelector('thead th').getAttribute('aria-sort');") == "descending"
    tab.press(f"a[href='#/sweeps/{sweep}']")
    tab.until("document.querySelector('#report').dataset.drawn", "its report")
    tab.until(DRAWN, "its figures", in_frame=True)
    colours = tab.run(COLOURS, in_frame=True)
    assert len(colours) > 4 and min(colours) > 2
    assert "valid_loss" in tab.run("return document.querySelector('#facts').innerText;")
    tab.run("location.hash = '#/sweeps/other-20260101-abcd';")
    tab.until("document.querySelector('#reason')?.innerText === '<script>boom()</script>'", "why it failed, as text")
    tab.press("#forget")
    tab.until("document.querySelector('#token')", "the question for a token again")
    assert tab.run("return sessionStorage.length;") == 0 and "ada" not in tab.text()


def test_every_file_of_the_page_has_a_policy_and_none_is_written_into_the_page(client: httpx.Client) -> None:
    page = client.get("/", headers={"Accept": "text/html"})
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["referrer-policy"] == "no-referrer"
    assert "<style" not in page.text and "style=" not in page.text
    assert page.text.count("<script") == 1 and 'href="/' not in page.text and 'src="/' not in page.text
    files = ["main.js", "api.js", "service.css", "look.css", "icon.svg", "frame.html"]
    for name in files:
        answer = client.get(f"/web/{name}")
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff", name
        again = client.get(f"/web/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304 and again.content == b""
    frame = client.get("/web/frame.html").headers["content-security-policy"]
    assert frame.startswith("sandbox allow-scripts allow-downloads;") and "same-origin" not in frame
    for name in ("index.html", "pages.py", "..%2Fpages.py", "%2e%2e/app.py", "nothing.js"):
        assert client.get(f"/web/{name}").status_code == 404
    assert client.get("/v1/sweeps").headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe-inline" not in client.get("/docs").headers["content-security-policy"]
    told = client.get("/", headers={"Accept": "application/json"}).json()
    assert told["name"] == "Espalier"
