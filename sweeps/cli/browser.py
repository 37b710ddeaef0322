"""To open a file in the browser of whoever sits here, if there is one."""

import subprocess
import sys
from pathlib import Path

FAILS_WITHIN_S = 3.0  # xdg-open tries one browser after another; a browser that it has started goes on


def open_in_browser(file: Path) -> bool:
    """Open a file in the browser; return whether there is one. What the program says that looks for it is not shown."""
    command = ["open" if sys.platform == "darwin" else "xdg-open", str(file.absolute())]
    silent = subprocess.DEVNULL
    try:
        opener = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)
    except OSError:
        return False
    try:
        return opener.wait(FAILS_WITHIN_S) == 0
    except subprocess.TimeoutExpired:
        return True
