"""MLflow's pages in a headless Chromium: what a page asked the server for, how long that took, and a picture of it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chromium import Browser, Tab, chromium

PATIENCE_S = 120.0
QUIET_S = 1.0  # a page without a request for so long has all that it asks for
ASSISTANT = '[data-component-id="mlflow.assistant.chat_panel.close"]'
"""The button that closes a panel for a chat, which MLflow opens on a browser's first visit."""


@dataclass
class Request:
    """A request of a page: what was asked, the bytes of the answer, when it was sent, and when all was there."""

    url: str
    body: str
    begin_s: float
    bytes: int = 0
    end_s: float | None = None


class Page:
    """A tab on MLflow's pages."""

    def __init__(self, browser: Browser, width: int = 1560, height: int = 960):
        self.tab = browser.tab(width, height)
        self._by_id: dict[str, Request] = {}
        browser.tabs.append(_Meter(self.tab, self._by_id))

    @property
    def requests(self) -> Sequence[Request]:
        """The requests since the address was opened, oldest first."""
        return [*self._by_id.values()]

    def open(self, address: str) -> float:
        """Open an address, as if for the first time; wait for all it asks for. Return the seconds to the last byte."""
        self.tab.go("about:blank")  # a change behind # alone would not load the page again
        self.tab.until("document.URL === 'about:blank'", "an empty page")
        self._by_id.clear()
        self.tab.console.clear()
        begin = time.monotonic()
        self.tab.go(address)
        while time.monotonic() - begin < PATIENCE_S:
            self.tab.browser.listen(0.1)
            ends = [request.end_s for request in self._by_id.values() if request.end_s is not None]
            if len(self._by_id) == len(ends) > 0 and time.monotonic() - max(ends) > QUIET_S:
                return max(ends) - begin
        raise TimeoutError([request.url for request in self.requests if request.end_s is None])

    def close_assistant(self) -> None:
        """Close the panel that hides a third of the page."""
        self.tab.run(f"document.querySelector('{ASSISTANT}')?.click();")

    def picture(self, file: Path) -> None:
        """Draw what the window shows into a PNG."""
        file.write_bytes(self.tab.picture())


class _Meter:
    """Hears the events of a tab, in place of one."""

    def __init__(self, tab: Tab, by_id: dict[str, Request]):
        self.tab, self.by_id = tab, by_id

    def hear(self, message: dict[str, Any]) -> None:
        event, params = message.get("method"), message.get("params", {})
        if message.get("sessionId") not in self.tab.sessions:
            return
        now, request = time.monotonic(), self.by_id.get(params.get("requestId", ""))
        if event == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if url.startswith("http") and "worker" not in url:  # of a worker no end is told
                self.by_id[params["requestId"]] = Request(url, params["request"].get("postData", ""), now)
        elif request and event in ("Network.loadingFinished", "Network.loadingFailed"):
            request.end_s, request.bytes = now, int(params.get("encodedDataLength", 0))


@contextmanager
def mlflow_browser(width: int = 1560, height: int = 960) -> Iterator[Page]:
    """Start a browser with one page; skip the test where there is none."""
    with chromium() as browser:
        yield Page(browser, width, height)
