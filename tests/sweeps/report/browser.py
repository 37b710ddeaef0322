"""A page in a headless Chromium: what a script finds there once all figures are drawn, and what the console says."""

import html
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DARK = "--blink-settings=preferredColorScheme=0"
WAIT = """
<script>
const failures = [];
addEventListener("error", (event) => failures.push(String(event.message)));
addEventListener("unhandledrejection", (event) => failures.push(String(event.reason)));
const drawn = new Promise((resolve) => {
  const look = () => (document.documentElement.dataset.drawn ? resolve() : setTimeout(look, 10));
  look();
});
drawn.then(async () => {
  const found = await (async () => { SCRIPT })();
  const place = document.createElement("pre");
  place.id = "found";
  place.textContent = JSON.stringify({ found, failures });
  document.body.append(place);
});
</script>
"""


class Seen(NamedTuple):
    """found: what the script returned. console: the lines of the console."""

    found: Any
    console: Sequence[str]


def needs_chromium() -> str:
    """Return Chromium's path; skip the test without it."""
    if not CHROMIUM:
        pytest.skip("needs Debian's package chromium")
    return CHROMIUM


def look_at(page: str, script: str, folder: Path, *options: str, width: int = 1100) -> Seen:
    """Open a page in Chromium, which no network reaches, and run a script there when all is drawn.

    script: the body of an async function; what it returns is JSON.
    """
    file = folder / "seen.html"
    before, _, after = page.rpartition("</body>")  # the scripts of the page have that word too
    file.write_text(f"{before}{WAIT.replace('SCRIPT', script)}</body>{after}")
    with tempfile.TemporaryDirectory() as profile:
        words = [needs_chromium(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        words += ["--proxy-server=127.0.0.1:9", "--enable-logging=stderr", "--virtual-time-budget=60000", "--dump-dom"]
        words += [f"--window-size={width},1000", *options, file.as_uri()]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    written = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert written, done.stderr[-2000:]
    answer = json.loads(html.unescape(written[1]))
    assert answer["failures"] == []
    return Seen(answer["found"], [line for line in done.stderr.splitlines() if "CONSOLE" in line])
