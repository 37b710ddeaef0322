"""One trial in Optuna's storage: written while it trains, read afterwards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import optuna
from optuna.trial import FrozenTrial, TrialState

from espalier.core.training.memory import Memory
from espalier.sweeps.search import attributes
from espalier.sweeps.search.replicates import leader_of, memory_of, missing_counts, value_to_beat
from espalier.sweeps.search.trial_events import Outcome
from espalier.sweeps.spec.parts import Objective
from espalier.sweeps.spec.space import Point, Scalar

_STATES = {TrialState.RUNNING: "running", TrialState.COMPLETE: "complete", TrialState.PRUNED: "stopped"}


@dataclass(frozen=True)
class RungScore:
    """A trial's score at a rung, None if it diverged. leader: the first trial with the same history."""

    value: float | None
    leader: int


@dataclass(frozen=True)
class Confirmation:
    """A trial that repeats another under another seed. trial: the one that it repeats. seed: of its first replicate."""

    trial: int
    seed: int


class PieceJson(TypedDict):
    """A piece as an attribute of its trial. Shares are those of a whole training.

    order: its number among the sweep's pieces. trunk: the trial that began as its trunk. end: of a trunk, decay: of a
    branch. gain: by how much it was expected to better the objective in the end, for `cost` full trainings.
    again: what it trained, or is to train, although that had been trained before. lost: whether nothing was left where
    it was parked. of: of a trial that goes on with a trunk whose trial had ended before an extension, that trial.
    """

    order: int
    trunk: int
    point: Sequence[float]
    begin: float
    end: NotRequired[float]
    decay: NotRequired[Sequence[float]]
    gain: NotRequired[float]
    cost: NotRequired[float]
    again: NotRequired[float]
    lost: NotRequired[bool]
    of: NotRequired[int]


def storable(choice: Scalar | list[float]) -> Scalar:
    """Return a choice for Optuna: lists, and texts that look like one, become JSON."""
    return json.dumps(choice) if isinstance(choice, list) or str(choice).startswith(("[", '"')) else choice


def sampled_params(stored: Mapping[str, object]) -> Point:
    """Return a trial's stored values as the values of the spec's choices."""
    return {name: _plain(value) for name, value in stored.items()}


def _plain(value: object) -> object:
    return json.loads(value) if isinstance(value, str) and value.startswith(("[", '"')) else value


@dataclass(frozen=True)
class TrialRecord:
    """A trial in the storage, read-only."""

    frozen: FrozenTrial

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self.frozen.number

    @property
    def running(self) -> bool:
        """Whether Optuna has not been told how it ended."""
        return self.frozen.state == TrialState.RUNNING

    @property
    def state(self) -> str:
        """running, complete, stopped, diverged or failed."""
        if self.frozen.state == TrialState.PRUNED:  # also one that got no memory: see Asker.tell
            return self.status or "stopped"
        return _STATES.get(self.frozen.state) or self.status or "failed"

    @property
    def params(self) -> Point:
        """The sampled values in Optuna's form."""
        return self.frozen.params

    @property
    def reports(self) -> dict[int, float]:
        """The objective by step, for each report."""
        return self.frozen.intermediate_values

    @property
    def value(self) -> float | None:
        """The objective at the end of a complete trial."""
        return self.frozen.value if self.frozen.state == TrialState.COMPLETE else None

    @property
    def duration_s(self) -> float | None:
        """The time from its creation to its end, in seconds."""
        return self.frozen.duration.total_seconds() if self.frozen.duration else None

    @property
    def ended(self) -> float | None:
        """When it ended, in seconds since 1970."""
        return self.frozen.datetime_complete.timestamp() if self.frozen.datetime_complete else None

    @property
    def cohort(self) -> str | None:
        """The cohort that it is in; None while it has none."""
        return self._attributes.get(attributes.COHORT)

    @property
    def confirms(self) -> Confirmation | None:
        """What it repeats; None for a trial of the search."""
        entry = self._attributes.get(attributes.CONFIRMS)
        return Confirmation(*entry) if entry else None

    @property
    def given_as(self) -> str | None:
        """Which given point it has: see `sweeps.search.given`; None for a trial that the sampler proposed."""
        return self._attributes.get(attributes.FIRST)

    @property
    def pieces(self) -> list[PieceJson]:
        """The pieces of it that a search by pieces has asked for, in order; empty for a whole trial."""
        return list(self._attributes.get(attributes.PIECES, ()))

    @property
    def parked(self) -> tuple[int, str, str] | None:
        """The step at which it was parked, its verdict there, and the evidence; None if it never was."""
        entry = self._attributes.get(attributes.PARKED)
        return (entry[0], entry[1], entry[2]) if entry else None

    @property
    def status(self) -> str | None:
        """How it ended: complete, diverged, stopped or failed."""
        return self._attributes.get(attributes.STATUS)

    @property
    def verdict(self) -> str:
        """The verdict on its health; "" before its end."""
        return self._attributes.get(attributes.VERDICT, "")

    @property
    def evidence(self) -> str:
        """The evidence of the verdict."""
        return self._attributes.get(attributes.EVIDENCE, "")

    @property
    def spread(self) -> float | None:
        """The standard deviation of the objective over its replicates; None without a value."""
        return None if self.value is None else self._attributes.get(attributes.SPREAD)

    @property
    def to_beat(self) -> float | None:
        """The baseline: the objective of a constant guess, or of its untrained model."""
        return self._attributes.get(attributes.TO_BEAT)

    @property
    def missing(self) -> dict[str, tuple[int, int]]:
        """The metrics that were NaN or infinite: in how many reports, out of how many."""
        return {name: (n, of) for name, (n, of) in self._attributes.get(attributes.MISSING, {}).items()}

    @property
    def memory(self) -> Memory:
        """The most memory that a process of it took."""
        return Memory(**self._attributes.get(attributes.MEMORY, {}))

    @property
    def run(self) -> str:
        """Its MLflow run if it was known at the trial's end; else ""."""
        return self._attributes.get(attributes.RUN, "")

    @property
    def leader(self) -> int:
        """For a diverged trial: the first trial with the same history."""
        return self._attributes.get(attributes.LEADER, self.number)

    @property
    def stop_evidence(self) -> str | None:
        """Why it was stopped, stored before Optuna is told; None if it was not."""
        stop = self._attributes.get(attributes.STOPPED)
        return stop["evidence"] if stop else None

    @property
    def scores(self) -> dict[int, RungScore]:
        """Its scores by rung, in steps."""
        prefix = attributes.RUNG
        scored = ((name, entry) for name, entry in self._attributes.items() if name.startswith(prefix))
        return {int(name.removeprefix(prefix)): RungScore(*entry) for name, entry in scored}

    @property
    def _attributes(self) -> dict[str, Any]:
        return self.frozen.user_attrs


class OpenTrial:
    """A trial that Optuna has not been told the end of: it still accepts reports and attributes."""

    def __init__(self, handle: optuna.trial.Trial):
        self.handle = handle
        self.number = handle.number
        self.params: Point = dict(handle.params)

    @property
    def cohort(self) -> str | None:
        """The cohort that it is in; None while it has none."""
        return self.handle.user_attrs.get(attributes.COHORT)

    def set_cohort(self, cohort: str) -> None:
        """Store its cohort."""
        self.handle.set_user_attr(attributes.COHORT, cohort)

    def set_pieces(self, pieces: Sequence[PieceJson]) -> None:
        """Store the pieces of it that have been asked for."""
        self.handle.set_user_attr(attributes.PIECES, list(pieces))

    def set_parked(self, step: int, verdict: str, evidence: str) -> None:
        """Store where it is parked, and its verdict so far."""
        self.handle.set_user_attr(attributes.PARKED, [step, verdict, evidence])

    def report(self, value: float, step: int) -> None:
        """Store the objective after a step."""
        self.handle.report(value, step)

    def set_score(self, rung: int, score: RungScore) -> None:
        """Store its score at a rung."""
        self.handle.set_user_attr(f"{attributes.RUNG}{rung}", [score.value, score.leader])

    def scores(self) -> dict[int, RungScore]:
        """Return its scores by rung, in steps."""
        prefix = attributes.RUNG
        scored = ((name, entry) for name, entry in self.handle.user_attrs.items() if name.startswith(prefix))
        return {int(name.removeprefix(prefix)): RungScore(*entry) for name, entry in scored}

    def set_stop(self, outcome: Outcome) -> None:
        """Store why it stops."""
        self.handle.set_user_attr(attributes.STOPPED, {"step": outcome.step, "evidence": outcome.evidence})

    def set_outcome(self, outcome: Outcome, run: str | None, objective: Objective, stopping: bool) -> None:
        """Store how it ended. run: its MLflow run, if known. stopping: whether the sweep has rungs."""
        metric = objective.metric
        diverged = [end for end in outcome.replicates if end.status == "diverged"] if stopping else []
        entries = {
            attributes.STATUS: outcome.status,
            attributes.VERDICT: outcome.verdict,
            attributes.EVIDENCE: outcome.evidence,
            attributes.RUN: run,
            attributes.LEADER: leader_of(diverged[0]) if diverged and outcome.status == "diverged" else None,
            attributes.SPREAD: outcome.values.get(f"{metric}_std"),
            attributes.MEMORY: memory_of(outcome.replicates) or None,
            attributes.MISSING: missing_counts(outcome.replicates) or None,
            attributes.TO_BEAT: value_to_beat(outcome.replicates, metric, objective.mode),
        }
        for name, entry in entries.items():
            if entry is not None:
                self.handle.set_user_attr(name, entry)
