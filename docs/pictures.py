"""Makes the pictures of docs/pictures: the terminal while a sweep runs, MLflow's pages of that sweep, its report, and
the page of a service in which such a sweep runs.

`make pictures`, or of one of them: `python -m docs.pictures service`. Needs Chromium (apt-get install chromium), and
runs the ready sweep `names`.
"""

import io
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pyte
from PIL import Image
from rich.console import Console
from rich.style import Style
from rich.text import Text

from docs.pictures_mlflow import main as mlflow_pages
from tests.chromium import Tab, chromium

PICTURES = Path(__file__).resolve().parent / "pictures"
SWEEP = Path(sys.executable).with_name("sweep")
COLUMNS, LINES = 80, 24
ARGUMENTS = ["run", "names"]
PHONE = 390, 1500  # pixels
DARK_PART = 700, 1000, 1500  # of the report in the dark: from here down, its width, to here
SHARE = 60  # percent of the budget that are used when the terminal's picture is taken


def terminal(home: Path) -> pyte.Screen:
    """Run a sweep in a terminal of 80 x 24, and return the screen as it was when most of its budget was used."""
    process, master = pty.fork()
    if process == 0:
        os.environ.update(SWEEP_HOME=str(home), COLUMNS=str(COLUMNS), LINES=str(LINES), TERM="xterm-256color")
        os.execv(SWEEP, ["sweep", *ARGUMENTS])
    ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    screen, kept = pyte.Screen(COLUMNS, LINES), None
    stream = pyte.ByteStream(screen)
    while data := _read(master):
        stream.feed(data)
        text = "\n".join(screen.display)
        used, whole = re.search(r"(\d+)% of the budget", text), "program" in text and "╰" in text  # else half drawn
        if kept is None and whole and used and int(used[1]) >= SHARE:
            kept = _copied(screen)
    os.waitpid(process, 0)
    return kept or screen


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # the process has ended
        return b""


def _copied(screen: pyte.Screen) -> pyte.Screen:
    copy = pyte.Screen(screen.columns, screen.lines)
    for y in range(screen.lines):
        for x in range(screen.columns):
            copy.buffer[y][x] = screen.buffer[y][x]
    return copy


def drawn(screen: pyte.Screen) -> str:
    """Return a screen as an SVG picture."""
    console = Console(width=screen.columns, record=True, file=io.StringIO(), force_terminal=True)
    for y in range(used(screen)):
        line = Text()
        for x in range(screen.columns):
            cell = screen.buffer[y][x]
            line.append(cell.data, Style(color=_colour(cell.fg), bgcolor=_colour(cell.bg), bold=cell.bold))
        console.print(line, no_wrap=True, overflow="crop")
    return console.export_svg(title="$ sweep run names")


def used(screen: pyte.Screen) -> int:
    """Return how many lines of a screen have something on them or above it."""
    return 1 + max(y for y, line in enumerate(screen.display) if line.strip())


def _colour(name: str) -> str | None:
    names = {"default": None, "brown": "yellow"}
    return f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else names.get(name, name)


def screenshot(url: str, file: Path, width: int, height: int, dark: bool = False) -> None:
    """Have Chromium draw a page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        sys.exit("needs Chromium: apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=30000"]
    options += [f"--window-size={width},{height}", f"--screenshot={file}"]
    options += ["--blink-settings=preferredColorScheme=0"] if dark else []
    subprocess.run([browser, *options, url], check=True, stderr=subprocess.DEVNULL)


def report(home: Path) -> None:
    """Draw the beginning of the sweep's report: on white, in the dark, and on a phone."""
    page, phone = home / "report.html", home / "phone.html"
    subprocess.run([SWEEP, "report", "names", "--home", home, "--out", page], check=True, stdout=subprocess.DEVNULL)
    screenshot(page.as_uri(), PICTURES / "report.png", 1000, 1500)
    screenshot(page.as_uri(), PICTURES / "report-dark.png", 1000, 1500, dark=True)
    width, height = PHONE  # a window of Chromium is wider than that: a frame is not
    frame = f"<body style='margin:0'><iframe src='report.html' style='width:{width}px;height:{height}px;border:0'>"
    phone.write_text(frame, encoding="utf-8")
    screenshot(phone.as_uri(), PICTURES / "report-phone.png", 500, height)
    with Image.open(PICTURES / "report-phone.png") as picture:
        picture.crop((0, 0, width, height)).save(PICTURES / "report-phone.png")
    with Image.open(PICTURES / "report-dark.png") as picture:
        picture.crop((0, *DARK_PART)).save(PICTURES / "report-dark.png")


@contextmanager
def service(home: Path) -> Iterator[str]:
    """Serve sweeps of a home; yield the address."""
    port = _free_port()
    server = subprocess.Popen(
        [SWEEP, "serve", "--port", str(port)],
        env=os.environ | {"SWEEP_HOME": str(home)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def service_page(home: Path) -> None:
    """Draw the page of a service: its list, and a sweep that runs, on white, in the dark and on a phone."""
    with service(home) as address, chromium("--hide-scrollbars") as browser:

        def sweep(*words: str) -> None:
            subprocess.run([SWEEP, *words, "--server", address], check=True, stdout=subprocess.DEVNULL)

        one_by_one = ["--no-wait", "--set", "search={sampler: tpe}"]  # trials that end one after the other
        sweep("submit", "thermometer")
        sweep("submit", "names", *one_by_one, "--set", "name=names-sgd", "--set", "optimizer=sgd")
        time.sleep(25)
        sweep("stop", "names-sgd")
        sweep("submit", "names", *one_by_one)
        tab = browser.tab()
        tab.go(address)
        tab.until("document.documentElement.dataset.listed === '3'", "the list")
        ended = "Number(document.querySelector('#table progress').value)"
        tab.until(f"{ended} >= {SHARE / 100}", "a sweep that has come far", seconds=600)
        _shot(tab, "service.png", 1000, 420)
        tab.run("document.querySelector('#table a').click();")
        tab.until("document.querySelector('#report')?.dataset.drawn", "its report")
        tab.until("document.documentElement.dataset.drawn", "its figures", in_frame=True)
        _shot(tab, "service-sweep.png", 1000, 1050)
        _shot(tab, "service-dark.png", 1000, 620, dark=True)
        _shot(tab, "service-phone.png", *PHONE)


def _shot(tab: Tab, name: str, width: int, height: int, dark: bool = False) -> None:
    tab.resize(width, height, dark)
    tab.browser.listen(1.5)  # figures are drawn anew for another width, or in other colours
    (PICTURES / name).write_bytes(tab.picture())
    with Image.open(PICTURES / name) as picture:
        picture.convert("RGB").save(PICTURES / name, optimize=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(url: str) -> None:
    for _ in range(120):
        time.sleep(0.5)
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            continue
    sys.exit(f"{url}: no answer")


def sweep_of_this_machine(home: Path) -> None:
    """Draw the terminal while a sweep runs, and then its report and MLflow's pages of it."""
    svg = home.with_name("terminal.svg")
    screen = terminal(home)
    svg.write_text(drawn(screen), encoding="utf-8")
    screenshot(svg.as_uri(), PICTURES / "terminal.png", 1000, 85 + round(24.6 * used(screen)))
    report(home)
    mlflow_pages(home)


def main(wanted: Sequence[str]) -> None:
    """Make all pictures, or those that are named: sweep, service."""
    PICTURES.mkdir(exist_ok=True)
    for name, draw in {"sweep": sweep_of_this_machine, "service": service_page}.items():
        if not wanted or name in wanted:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                draw(Path(folder) / "home")


if __name__ == "__main__":
    main(sys.argv[1:])
