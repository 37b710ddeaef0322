"""Commands of `sweep` in processes of their own, for one home or one service: what they print, or why they refuse.

So an agent gets what a person at a terminal gets, by the same token and within the same quotas.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput, brief
from espalier.sweeps.home import Home

ANSWER_S = 600.0  # that a command may take which only reads or writes
BEGIN_S = 120.0  # within which a run in the background shows that it has begun, or why it has not
LOOK_S = 0.5
RUNS = "runs"  # in a home: what runs in the background have printed
SAID_MOST = 4000  # characters of what a command says on its way


@dataclass(frozen=True)
class Commands:
    """The commands of one place.

    home: a home's folder. server: the address of a service, "" for the home. folder: in which they are called: paths in
    specs are relative to it.
    """

    home: Path
    server: str
    folder: Path

    @property
    def place(self) -> list[str]:
        """The options that name the place."""
        return ["--server", self.server] if self.server else ["--home", str(self.home)]

    def text(self, *words: str, arguments: Sequence[str] = (), spec: str = "", fine: Sequence[int] = (0,)) -> str:
        """Return what a command prints. spec: its input. fine: its exit codes that are no refusal.

        arguments: its arguments, after its own words; none of them is taken for an option, however it begins.
        Raises BadInput with what it says where it refuses.
        """
        try:
            command = _command(words, arguments)
            done = subprocess.run(
                command, input=spec, capture_output=True, text=True, cwd=self.folder, timeout=ANSWER_S
            )
        except subprocess.TimeoutExpired as error:
            raise BadInput(f"sweep {words[0]} takes longer than {ANSWER_S:g} s, and was ended") from error
        if done.returncode not in fine:
            raise BadInput(_reason(done.stderr or done.stdout))
        return done.stdout

    def document(self, *words: str, arguments: Sequence[str] = (), spec: str = "", fine: Sequence[int] = (0,)) -> Any:
        """Return the JSON document that a command prints with --json. Raises BadInput as `text` does."""
        return json.loads(self.text(*words, "--json", arguments=arguments, spec=spec, fine=fine))

    # --- in the background -------------------------------------------------------------------------------------------

    def begin(self, sweep: str, *words: str, arguments: Sequence[str], spec: str = "") -> None:
        """Start a command that trains a sweep of the home; return once the sweep trains, or is over.

        Raises BadInput with what it says if it ends before.
        """
        log = self.log(sweep)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as out:
            process = subprocess.Popen(
                _command(words, arguments),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        assert process.stdin
        process.stdin.write(spec.encode())
        process.stdin.close()
        latest = time.monotonic() + BEGIN_S
        while time.monotonic() < latest:
            code = process.poll()
            if code is not None:
                if code in (0, 1):  # it was quick; 1: no trial is complete
                    return
                raise BadInput(_reason(self.said(sweep)))
            if self._trains(sweep):
                return
            time.sleep(LOOK_S)

    def _trains(self, sweep: str) -> bool:
        """Whether a sweep is in its home and driven."""
        from espalier.sweeps.search.driver_lock import is_driven

        home = Home.at(str(self.home), reading=True)
        return is_driven(home.sweep(sweep)) and (home.sweep(sweep) / "spool.jsonl").exists()

    def log(self, sweep: str) -> Path:
        """Return the file of what a sweep in the background prints."""
        return self.home / RUNS / f"{sweep}.log"

    def said(self, sweep: str) -> str:
        """Return the end of what a sweep in the background has printed; "" for none."""
        try:
            return self.log(sweep).read_text(encoding="utf-8", errors="replace")[-SAID_MOST:]
        except OSError:
            return ""


def _command(words: Sequence[str], arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "espalier.sweeps.cli", *words, "--", *arguments]


def _reason(output: str) -> str:
    """Return why a command refused: its last line that says so, without its name."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wanted = [line for line in lines if line.startswith(("sweep: ", "Error: ", "halted: "))] or lines or ["no reason"]
    return brief(wanted[-1].removeprefix("sweep: ").removeprefix("Error: "), SAID_MOST)
