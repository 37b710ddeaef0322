"""The service's page in a tab: how a test comes in, and what has to hold in every one of them."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chromium import Browser, Tab

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
"""How many colours each figure of a report has."""
REFUSALS = ("Failed to load resource: the server responded with a status of", "net::ERR_", "the server responded")


def secret_of(header: dict[str, str]) -> str:
    """Return the token of a header."""
    return header["Authorization"].removeprefix("Bearer ")


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Tab]:
    """Give a tab in which nothing but the service is asked, and nothing goes wrong but what the service refuses.

    No token may be in an address or in the console.
    """
    tab = browser.tab()
    try:
        yield tab
        assert [line for line in tab.console if not any(each in line for each in REFUSALS)] == []
        for request in tab.asked:
            assert request["url"].startswith((address, "about:", "blob:")), request["url"]
            assert "sweep_" not in request["url"], request["url"]
        assert not any("sweep_" in line for line in tab.console)
    finally:
        with contextlib.suppress(AssertionError):
            tab.close()


def come_in(tab: Tab, address: str, header: dict[str, str], place: str = "") -> None:
    """Open the page, and come in with a token."""
    tab.go(f"{address}/{place}")
    tab.until("document.activeElement?.id === 'token'", "the question for a token")
    tab.type("#token", secret_of(header))
    tab.key("Enter", 13)
    tab.until("document.querySelector('#who')?.textContent", "who came in")


def column(tab: Tab, place: int) -> list[str]:
    """Return the texts of a column of the list."""
    rows = f"[...document.querySelectorAll('#table tbody tr')].map((row) => row.cells[{place}].innerText.trim())"
    return tab.run(f"return {rows};")


def shows(tab: Tab, selector: str) -> bool:
    """Whether something is to be seen."""
    return tab.run(f"return Boolean(document.querySelector('{selector}')?.checkVisibility());")
