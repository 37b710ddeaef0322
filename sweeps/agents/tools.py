"""The tools of an agent: what each is for, what it takes and returns. The protocol is a matter of `server.py`."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from espalier.core.errors import BadInput
from espalier.sweeps.agents.commands import Commands
from espalier.sweeps.home import is_sweep_id, new_id
from espalier.sweeps.spec.yaml12 import read

OVER = ("finished", "interrupted", "stopped", "failed", "unreadable", "lost")
WATCH_LOOK_S = 2.0
WORD = re.compile(r"[\w./~-]+")  # a file, or the name of a ready sweep; a spec of a line has a colon
LISTED, LISTED_MOST = 20, 200  # sweeps in one list; a row has about 1.5 kB
LOG_MOST = 20_000  # characters of a log that are returned

Sweep = Annotated[str, Field(description="its id, or its name: then the latest of that name")]
Spec = Annotated[
    str,
    Field(
        description="a whole spec as YAML (tool spec_fields has its fields), the path of a file that has one, or the "
        "name of a ready sweep: names, line, digits"
    ),
]
Top = Annotated[int, Field(ge=1, le=1000, description="how many of the best trials")]


@dataclass(frozen=True)
class Tools:
    """The tools, each a method whose docstring tells an agent what it does."""

    commands: Commands

    def all(self) -> list[Callable[..., Any]]:
        """Return the tools, in the order in which one needs them."""
        return [
            *(self.spec_fields, self.check, self.submit, self.list_sweeps, self.watch, self.show, self.explain),
            *(self.best, self.report, self.compare, self.extend, self.enqueue, self.stop, self.resume, self.logs),
        ]

    # --- before ------------------------------------------------------------------------------------------------------

    def spec_fields(self) -> dict[str, Any]:
        """Return the JSON schema of a spec: every field of a sweep, its type, its default, what it means."""
        return json.loads(self.commands.text("schema"))

    def check(self, spec: Spec) -> dict[str, Any]:
        """Try the training code of a spec for some steps, on this machine, before hours are spent on it.

        Says what fails, what each hyperparameter changes, and how long the sweep would take.
        """
        home = ["--home", str(self.commands.home)]
        return self.commands.document("check", *home, arguments=[_word(spec)], spec=spec, fine=(0, 1))

    # --- sweeps ------------------------------------------------------------------------------------------------------

    def submit(
        self,
        spec: Spec,
        hours: Annotated[float | None, Field(gt=0, description="how long it may run; of a service alone")] = None,
    ) -> dict[str, Any]:
        """Start a sweep and return its id at once; it goes on by itself. Then use watch, explain and best.

        Paths of code in the spec are relative to the folder of this server.
        """
        if self.commands.server:
            limit = [] if hours is None else ["--hours", str(hours)]
            words = ["submit", "--no-wait", *limit, *self.commands.place]
            answer = self.commands.document(*words, arguments=[_word(spec)], spec=spec)
            return {"sweep": answer["id"], "state": answer["state"]}
        if hours is not None:
            raise BadInput("hours: a home sets no limit; write budget: {hours: ...} into the spec")
        sweep = new_id(_name(spec))
        self.commands.begin(sweep, "run", "--id", sweep, *self.commands.place, arguments=[_word(spec)], spec=spec)
        return self._state(sweep)

    def list_sweeps(
        self,
        state: Annotated[str, Field(description="only those in this state, such as running; empty: all")] = "",
        limit: Annotated[int, Field(ge=1, le=LISTED_MOST, description="how many, the newest")] = LISTED,
    ) -> dict[str, Any]:
        """List the newest sweeps with their states and best values, the newest first, and how many there are in all."""
        chosen = ["--state", state] if state else []
        rows: list[dict[str, Any]] = self.commands.document("list", *chosen, *self.commands.place)
        newest = rows if self.commands.server else rows[::-1]  # a home lists the oldest first
        return {"sweeps": newest[:limit], "sweeps_in_all": len(rows)}

    def watch(
        self,
        sweep: Sweep,
        seconds: Annotated[float, Field(ge=0, le=3600, description="how long to wait for its end at most")] = 60.0,
    ) -> dict[str, Any]:
        """Wait until a sweep is over, or for some seconds; return its state, how many trials ended, the best so far."""
        latest = time.monotonic() + seconds
        while True:
            state = self._state(sweep)
            if state["state"] in OVER or time.monotonic() >= latest:
                return state
            time.sleep(min(WATCH_LOOK_S, max(0.0, latest - time.monotonic())))

    def show(self, sweep: Sweep, top: Top = 10) -> dict[str, Any]:
        """Show a sweep: its state, its spec's trials (the best first, then the others), what was wrong with them."""
        document = self.commands.document("show", *self.commands.place, arguments=[sweep])
        trials: list[dict[str, Any]] = document.get("trials", [])
        mode = document.get("mode") or document["spec"]["objective"]["mode"]  # of a service, of a home
        sign = -1.0 if mode == "max" else 1.0

        def place(trial: dict[str, Any]) -> tuple[bool, float]:
            return trial["state"] != "complete", sign * (trial.get("value") or 0.0)

        ranked = sorted(trials, key=place)
        return {**document, "trials": ranked[:top], "trials_in_all": len(trials)}

    def explain(
        self,
        sweep: Sweep,
        pieces: Annotated[
            int, Field(ge=0, le=1000, description="of so many choices of the search, the last, why")
        ] = 20,
    ) -> dict[str, Any]:
        """Explain a sweep: the answer with its uncertainty, why this trial is the best, what was wrong, what is next.

        `answer.sentences` is the answer for people; its numbers stand beside them.
        """
        document = self.commands.document("explain", *self.commands.place, arguments=[sweep])
        chosen: list[Any] = document.get("chosen") or []  # of a search by pieces every piece; of a service none
        last = chosen[max(0, len(chosen) - pieces) :]
        return {**document, "chosen": last, "chosen_in_all": len(chosen)}

    # --- afterwards --------------------------------------------------------------------------------------------------

    def best(self, sweep: Sweep) -> dict[str, Any]:
        """Return the best configuration as a best file: YAML that `sweep rerun` trains again."""
        return {"sweep": sweep, "best_file": self.commands.text("best", *self.commands.place, arguments=[sweep])}

    def report(
        self, sweep: Sweep, file: Annotated[str, Field(description="the path of the page to write")] = ""
    ) -> dict[str, Any]:
        """Write a sweep's page, one HTML file for people with all its figures; return its path and its sentences."""
        named = file or f"report-{sweep}.html"
        document = self.commands.document("report", "--out", named, *self.commands.place, arguments=[sweep])
        return {"file": document["file"], "sentences": document["answer"]}

    def compare(self, first: Sweep, second: Sweep) -> dict[str, Any]:
        """Say whether the second sweep did better than the first, by how much, whether that is noise, at which cost."""
        return self.commands.document("compare", *self.commands.place, arguments=[first, second])

    def extend(
        self,
        sweep: Sweep,
        trials: Annotated[int | None, Field(ge=1, description="so many more trials")] = None,
        trainings: Annotated[float | None, Field(gt=0, description="so many more, of a budget in trainings")] = None,
        hours: Annotated[float | None, Field(gt=0, description="so many more, of a budget in hours")] = None,
    ) -> dict[str, Any]:
        """Give a sweep that has ended more to train; its trials stay as they are. It goes on by itself."""
        limits = {"--trials": trials, "--trainings": trainings, "--hours": hours}
        words = [word for option, value in limits.items() if value is not None for word in (option, str(value))]
        return self._background(sweep, "extend", *words)

    def enqueue(
        self,
        sweep: Sweep,
        points: Annotated[list[dict[str, Any]], Field(description="each as {hyperparameter: value}")],
    ) -> dict[str, Any]:
        """Add points to a sweep that has not ended, which are its next trials."""
        return self.commands.document("enqueue", *self.commands.place, arguments=[sweep, *map(json.dumps, points)])

    def stop(self, sweep: Sweep) -> dict[str, Any]:
        """Stop a sweep, which writes checkpoints; resume goes on from there."""
        return self.commands.document("stop", "--wait", *self.commands.place, arguments=[sweep])

    def resume(self, sweep: Sweep) -> dict[str, Any]:
        """Go on with a sweep that was stopped or has crashed. It goes on by itself."""
        return self._background(sweep, "resume")

    def logs(self, sweep: Sweep) -> dict[str, Any]:
        """Return the end of what a sweep's driver has printed, with why it failed if it did."""
        if self.commands.server:
            log = self.commands.text("logs", *self.commands.place, arguments=[sweep])
            return {"sweep": sweep, "log": log[-LOG_MOST:]}
        return {"sweep": sweep, "log": self.commands.said(self._state(sweep)["sweep"])}

    # --- parts -------------------------------------------------------------------------------------------------------

    def _background(self, sweep: str, command: str, *words: str) -> dict[str, Any]:
        """Have a sweep train on: of a service there, of a home in a process of its own; return its state."""
        if self.commands.server:
            self.commands.text(command, "--no-wait", *words, *self.commands.place, arguments=[sweep])
            return self._state(sweep)
        known = self._state(sweep)["sweep"]
        self.commands.begin(known, command, *words, *self.commands.place, arguments=[known])
        return self._state(known)

    def _state(self, sweep: str) -> dict[str, Any]:
        """Return the id of a sweep, its state, how many trials are in which, and its best so far."""
        document = self.commands.document("show", *self.commands.place, arguments=[sweep])
        counts = Counter(trial["state"] for trial in document.get("trials", []))
        known = document.get("sweep") or document.get("id")
        return {"sweep": known, "state": document["state"], "trials": dict(counts), "best": document.get("best")}


def _word(spec: str) -> str:
    """Return what a command gets for a spec: a file or a ready sweep by its name, else `-`, its input."""
    return spec.strip() if WORD.fullmatch(spec.strip()) else "-"


def _name(spec: str) -> str:
    """Return the beginning of a sweep's id; what is wrong with the spec, the command that reads it will say.

    >>> _name("name: mine"), _name("names"), _name("[")
    ('mine', 'names', 'sweep')
    """
    try:
        fields = read(spec, "spec") if _word(spec) == "-" else {"name": spec.strip()}
    except BadInput:
        fields = None
    named = fields.get("name") if isinstance(fields, dict) else None
    return named if isinstance(named, str) and is_sweep_id(named) else "sweep"
