"""A headless Chromium that a test drives, by its DevTools protocol over two pipes: no port, and no other package."""

import base64
import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.sweeps.report.browser import needs_chromium

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")
ANSWER_S = 60.0
Message = dict[str, Any]


class Browser:
    """The process of a browser, and the messages that it sent."""

    def __init__(self, writes: int, reads: int):
        self._writes, self._reads = writes, reads
        self._number, self._rest = 0, b""
        self.tabs: list[Tab] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> Message:
        """Send a command; return its result. Events that come before it are kept by their tabs."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            for answer in self._arrived(1.0):
                if answer.get("id") == number:
                    assert "error" not in answer, f"{method}: {answer['error']}"
                    return answer["result"]
        raise AssertionError(f"{method}: no answer")

    def listen(self, seconds: float) -> None:
        """Take what has come."""
        for _ in self._arrived(seconds):
            pass

    def _arrived(self, seconds: float) -> Iterator[Message]:
        if b"\0" not in self._rest:
            if not select.select([self._reads], [], [], seconds)[0]:
                return
            self._rest += os.read(self._reads, 1 << 20)
        while b"\0" in self._rest:
            text, _, self._rest = self._rest.partition(b"\0")
            message = json.loads(text)
            for tab in self.tabs:
                tab.hear(message)
            yield message

    def tab(self, width: int = 1100, height: int = 900) -> "Tab":
        """Open an empty tab. Its storage is shared with the others, as in one window."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        self.tabs.append(tab)
        tab.prepare(session)
        tab.resize(width, height)
        return tab


class Tab:
    """A tab. console: errors and warnings, and what breaks the page's policy. asked: the addresses of all requests."""

    def __init__(self, browser: Browser, session: str, target: str):
        self.browser, self.session, self.target = browser, session, target
        self.sessions, self.waiting = {session}, list[str]()
        self.frame: str | None = None
        self.console: list[str] = []
        self.asked: list[Message] = []

    def prepare(self, session: str) -> None:
        """Have a document, or a frame with a process of its own, tell what happens in it."""
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.browser.call(f"{domain}.enable", session)
        self.browser.call("Target.setAutoAttach", session, autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        self.browser.call("Runtime.runIfWaitingForDebugger", session)

    def hear(self, message: Message) -> None:
        """Keep what a message says of this tab."""
        method, params = message.get("method"), message.get("params", {})
        if message.get("sessionId") not in self.sessions:
            return
        if method == "Target.attachedToTarget":
            self.sessions.add(params["sessionId"])
            self.waiting.append(params["sessionId"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.console.append(" ".join(str(arg.get("value")) for arg in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.console.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"])

    def _attach(self) -> None:
        while self.waiting:
            self.frame = self.waiting.pop(0)
            self.prepare(self.frame)

    def close(self) -> None:
        """Close the tab."""
        self.browser.tabs.remove(self)
        self.browser.call("Target.closeTarget", targetId=self.target)

    def front(self) -> None:
        """Bring the tab to the front; the others are hidden then."""
        self.browser.call("Page.bringToFront", self.session)

    def go(self, url: str) -> None:
        """Open an address."""
        self.browser.call("Page.navigate", self.session, url=url)

    def run(self, script: str, in_frame: bool = False) -> Any:
        """Return what the body of an async function returns in the page, or in the frame that came last."""
        self._attach()
        session = self.frame if in_frame else self.session
        assert session, "there is no frame"
        wrapped = f"(async () => {{ {script} }})()"
        done = self.browser.call(
            "Runtime.evaluate", session, expression=wrapped, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script: str, what: str, in_frame: bool = False, seconds: float = 30.0) -> None:
        """Wait for an expression to be true in the page. Fails with what it was waiting for."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):  # a document may be replaced meanwhile
                if self.run(f"return Boolean({script});", in_frame):
                    return
            self.browser.listen(0.05)
        raise AssertionError(f"it never came: {what}; console: {self.console}; the page: {self.text()[:2000]}")

    def text(self) -> str:
        """Return what a person reads in the page."""
        return self.run("return document.body.innerText;")

    def type(self, selector: str, text: str) -> None:
        """Type a text into a field, in place of what is there."""
        self.run(f"const field = document.querySelector({json.dumps(selector)}); field.focus(); field.select?.();")
        self.browser.call("Input.insertText", self.session, text=text)

    def press(self, selector: str, in_frame: bool = False) -> None:
        """Press a button."""
        self.run(f"document.querySelector({json.dumps(selector)}).click();", in_frame)

    def key(self, name: str, code: int) -> None:
        """Press a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            params: Message = {"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
            if name == "Enter" and kind == "keyDown":
                params["text"] = "\r"
            self.browser.call("Input.dispatchKeyEvent", self.session, **params)

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Have a screen of so many pixels, with the colours of the day or of the night."""
        self.browser.call(
            "Emulation.setDeviceMetricsOverride",
            self.session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        for session in [self.session, *([self.frame] if self.frame else [])]:
            self.browser.call("Emulation.setEmulatedMedia", session, features=[scheme])

    def picture(self) -> bytes:
        """Return what is on the screen as a PNG."""
        return base64.b64decode(self.browser.call("Page.captureScreenshot", self.session)["data"])


def pictures_of(tab: Tab, in_frame: bool = False) -> list[tuple[str, str]]:
    """Return the role and the name of all that is a picture to who cannot see the page, in its order.

    Beside pictures that is whatever a drawing library calls a graphic, and anything that is described by its role.
    """
    session = tab.frame if in_frame else tab.session
    nodes = tab.browser.call("Accessibility.getFullAXTree", session)["nodes"]
    pairs = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    named = {"image", "figure", "Canvas"}
    return [(role, name) for role, name in pairs if "raphics" in role or (role in named and name)]


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """Start a browser; end it after the block."""
    from_us, writes = os.pipe()
    reads, from_it = os.pipe()

    def arrange() -> None:
        """Give the browser its pipes as the files 3 and 4."""
        read, write = os.dup(from_us), os.dup(from_it)  # out of the way: either may be 3 or 4
        high = [os.dup2(each, 100 + place) for place, each in enumerate((read, write))]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [needs_chromium(), *OPTIONS, f"--user-data-dir={profile}", *options]
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=arrange, stdin=subprocess.DEVNULL
        )
        os.close(from_us)
        os.close(from_it)
        try:
            yield Browser(writes, reads)
        finally:
            os.close(writes)
            os.close(reads)
            process.terminate()
            process.wait(20)
