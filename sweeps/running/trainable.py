"""A cohort as a Ray Tune trial: it trains for about a second, reports what happened, and can be saved and restored."""

import json
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from espalier.sweeps.garbage import gc_paused

with gc_paused():
    import ray
    import torch
    from ray import tune
    from ray.exceptions import RayError
    from torch.utils._pytree import tree_map_only

    from espalier.core import checkpoint
    from espalier.core.errors import Differs, briefly, located
    from espalier.core.loading.folders import work_in
    from espalier.core.training.cohort import Cohort
    from espalier.core.training.events import Event, TrialId
    from espalier.core.training.lane import Lane
    from espalier.sweeps import cohorts as plan
    from espalier.sweeps.engine import make_cohort, program_for, why_not_as_begun
    from espalier.sweeps.home import COHORT_FILE, NO_ROOM
    from espalier.sweeps.running.board import judge
    from espalier.sweeps.running.deaths import own_name
    from espalier.sweeps.running.referee import Referee
    from espalier.sweeps.running.watchdog import Watchdog
    from espalier.sweeps.search.halving import Halving
    from espalier.sweeps.spec.spec import SweepSpec

TURN_S = 1.0  # a report to the driver costs it a few ms, so a turn is long beside that and short for a person
PASSING = (MemoryError, OSError, torch.OutOfMemoryError, torch.AcceleratorError, RayError)
CHECKPOINT_S = 10.0  # the most work that a crash can lose


def make_referee(spec: SweepSpec, sweep: str) -> Referee | None:
    """Return who stops trials of a cohort; nobody without stopping."""
    if spec.stopping is None:
        return None
    sign = spec.objective.sign
    asks = judge(sweep, Halving(spec.stopping, sign))
    return Referee(plan.rungs(spec), spec.objective.metric, sign, spec.replicates, asks, spec.health.collapsed)


class CohortTrainable(tune.Trainable):
    """Its config is {"cohort": JSON of {id, sweep, spec, trials, lanes, threads, device, resume_from}}."""

    def setup(self, config: dict[str, Any]) -> None:
        self.cohort: Cohort | None = None
        self.halt: str | None = None  # why nobody can go on here until a person has seen to it
        wanted = json.loads(config["cohort"])
        before: Watchdog | None = getattr(self, "dog", None)
        notes = Path(wanted["notes"])
        self.dog = Watchdog(notes, own_name(notes, wanted["id"]), wanted["patience_s"])
        if before:
            before.close()
        place = wanted.get("resume_from")
        saved = checkpoint.load(Path(place) / COHORT_FILE) if place else None
        self.broken = self._tried(lambda: self._begin(wanted, saved))

    def _tried(self, call: Callable[[], Any]) -> tuple[str, str] | None:
        """Do it; return what a task's code raised, in a line and whole: again would raise it again.

        What another try may not meet is left to the driver, which begins anew from the last checkpoint.
        """
        with self.dog.watching():
            try:
                call()
            except (Exception, SystemExit) as error:
                if isinstance(error, PASSING) and not isinstance(error, FileNotFoundError):
                    self.dog.last_word(located(error))
                    raise
                return located(error), traceback.format_exc()
        return None

    def _begin(self, wanted: dict[str, Any], saved: dict[str, Any] | None) -> None:
        work_in(wanted["folder"])
        torch.set_num_threads(wanted["threads"])
        self.wanted, self.last = wanted, saved
        spec, trials = SweepSpec.model_validate(wanted["spec"]), wanted["trials"]
        self.referee = make_referee(spec, wanted["sweep"])
        self.device = "cuda" if wanted["device"] == "cuda" and torch.cuda.is_available() else "cpu"
        made: dict[str, Any] | None = {"device": self.device} | saved if saved else wanted.get("made")
        if made:  # what has begun goes on by its own program, though fewer trials are left, or the node is another
            self.halt = why_not_as_begun(spec, trials, made, self.device)
            self.program, self.why, self.lanes = made["program"], made["why"], made["lanes"]
        else:
            self.program, self.why, self.lanes = program_for(spec, trials, wanted["lanes"], self.device)
        if self.halt:
            return
        self.again: list[Event] = []
        self.cohort = make_cohort(spec, trials, self.lanes, self.program, self.device, self.referee)
        if saved:
            self._restore(self.cohort, saved)
        for number in wanted["without"]:
            for replicate in range(spec.replicates):
                self.cohort.stop(str(TrialId(number, replicate)), "failed before")
        self.suspects: dict[str, int] = wanted["suspects"]
        self.cohort.program.beat, self.cohort.before = self.dog.beat, self._note
        self.saved = time.monotonic()

    def _note(self, lanes: Sequence[Lane]) -> None:
        """Note whom the next calls are made for."""
        self.dog.training([{rider.trial.id: lane.step for rider in lane.riders} for lane in lanes], self.program)

    def _restore(self, cohort: Cohort, saved: dict[str, Any]) -> None:
        cohort.load_state(saved)
        if self.referee:
            self.referee.load_state(saved["referee"])
        # a driver hears of the last turns only once their checkpoint is whole: the one that resumes may have heard less
        self.again = cohort.events_so_far()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train until a turn is over or all trials have ended."""
        node = ray.get_runtime_context().get_node_id()
        cohort: Cohort | None = self.cohort
        if cohort is None:
            return {"broken": self.broken, "halt": self.halt, "node": node, "done": True}
        happened, self.again = self.again, []
        self.broken = self._tried(partial(self._train, cohort, happened))
        cohort = self.cohort or cohort
        due = time.monotonic() - self.saved > CHECKPOINT_S and not self.broken
        if due:
            self.saved = time.monotonic()
            with self.dog.watching():  # a task's own objects are asked what they consist of
                due = cohort.writable  # else it begins anew after a crash, with the same numbers
        return {
            "broken": self.broken,
            "events": json.dumps([event.to_json() for event in happened]),
            "glimpse": cohort.glimpse(),
            "lane_steps": cohort.lane_steps,
            "steps_shared": cohort.steps_shared,
            "program": self.program,
            "why": self.why,
            "lanes": self.lanes,
            "device": self.device,
            "node": node,
            "done": cohort.done or self.broken is not None,
            "should_checkpoint": due,
        }

    def _train(self, cohort: Cohort, happened: list[Event]) -> None:
        """Train until a turn is over, adding to what has happened."""
        begin, before = time.monotonic(), len(happened)
        try:
            while not cohort.done and time.monotonic() - begin < TURN_S:
                if self.suspects and not cohort.isolate(self.suspects):
                    self.suspects = {}
                happened.extend(cohort.turn())
        except Differs as error:
            del happened[before:]
            self._train_plainly(str(error))

    def _train_plainly(self, why: str) -> None:
        """Go back to what was saved last and on by plain PyTorch; what was trained since is void."""
        made = {"program": "plain", "why": f"one lane at a time: {why}", "lanes": self.lanes, "device": self.device}
        self._begin(self.wanted | {"made": made}, self.last | made if self.last else None)

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Save as Tune does; a disk that takes nothing any more is no reason to try again."""
        try:
            return super().save(checkpoint_dir)
        except OSError as error:
            self.dog.last_word(f"a checkpoint cannot be written: {briefly(error)}", halt=error.errno in NO_ROOM)
            raise

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        if self.cohort is None:
            return
        chosen = {"program": self.program, "why": self.why, "lanes": self.lanes, "device": self.device}
        chosen |= {"referee": self.referee.state()} if self.referee else {}
        with self.dog.watching():
            state = self.cohort.state() | chosen
        state = tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), state)
        checkpoint.save(Path(checkpoint_dir) / COHORT_FILE, state)
        self.last = state
