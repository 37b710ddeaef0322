"""The sweeps of a service."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from os import PathLike

from espalier.core.errors import BadInput, counted
from espalier.sweeps.answer.answer import Answer, answer_of
from espalier.sweeps.browse.export import Export
from espalier.sweeps.browse.unpack import fetched
from espalier.sweeps.client.answers import SweepAnswer, TraceAnswer, TrialAnswer
from espalier.sweeps.client.lines import beside_the_best, follow, show_lines, state_line, table
from espalier.sweeps.client.service import Remote
from espalier.sweeps.origins.origin import CurvePoint, Listing
from espalier.sweeps.report.material import Material, Ratios, Trace, Work, block_means
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.extension import More, with_budget
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.spec.values import Fields


@dataclass(frozen=True)
class ServiceSweep:
    """A sweep of a service. Its spec and its trials are read on first use."""

    remote: Remote
    answer: SweepAnswer

    @property
    def id(self) -> str:
        """Its id."""
        return self.answer["id"]

    @property
    def state(self) -> str:
        """queued, starting, running, stopping, stopped, finished or failed."""
        return self.answer["state"]

    @property
    def page(self) -> str:
        """MLflow's page on it; "" before MLflow has it."""
        return self.answer["mlflow"].get("page") or ""

    @property
    def references(self) -> Sequence[ReferenceResult]:
        """What its references came to; none from a service of an earlier version."""
        return tuple(ReferenceResult.from_json(reference) for reference in self.answer.get("references", ()))

    @property
    def spec(self) -> SweepSpec:
        """Its spec."""
        return make_spec(self._spec, f"{self.id}: spec", stored=True)

    @property
    def trials(self) -> Sequence[TrialResult]:
        """Its trials so far."""
        return tuple(map(trial_of, self._trials))

    @cached_property
    def _spec(self) -> Fields:
        """The fields of its spec, with the budget that it was extended to."""
        fields = self.remote.spec(self.id)
        for unit, amount in (self.answer.get("extended") or {}).items():
            fields = with_budget(fields, unit, amount)
        return fields

    @cached_property
    def _trials(self) -> Sequence[TrialAnswer]:
        return self.remote.trials(self.id)

    @property
    def chosen(self) -> None:
        """Why each piece was trained stands in the home of the sweep, on the service's machine."""
        return None

    @property
    def lane_steps(self) -> None:
        """Unknown: a service does not say it."""
        return None

    @property
    def digests(self) -> Mapping[str, str]:
        """None: a service does not say them."""
        return {}

    def best_file(self, trial: int | None = None) -> str:
        """Return the best trial, or another complete one, as the text of a best file. Raises BadInput."""
        return self.remote.best(self.id, trial)

    def points(self, metric: str) -> list[CurvePoint]:
        """Return every report of a metric, replicates averaged. Raises BadInput for an unknown metric."""
        return self.remote.curves(self.id, metric)

    def material(self) -> Material:
        """Return what a report is made of. Raises BadInput.

        A service of an earlier version tells no update ratios, and no steps of work.
        """
        reports: dict[int, dict[int, float]] = {}
        for trial, step, value in self._points(self.spec.objective.metric):
            reports.setdefault(trial, {})[step] = value
        known = Material(
            id=self.id,
            spec=self.spec,
            state=self.state,
            trials=[replace(trial, reports=reports.get(trial.number, {})) for trial in self.trials],
            references=self.references,
            begun=_seconds(self.answer["created"]),
            option=f" --server {self.remote.server}",
        )
        recorded = self.remote.traces(self.id)
        if recorded is None:
            return replace(known, traces=self._curves())
        work = recorded["work"]
        return replace(
            known,
            traces={trace["trial"]: _trace_of(trace) for trace in recorded["traces"]},
            work=Work(work["trained"], work["shared"]) if work else None,
            begun=recorded["begun"] or known.begun,
            facts=recorded["facts"],
        )

    def _curves(self) -> dict[int, Trace]:
        """Return the training curves of all trials, as a service of any version has them."""
        curves: dict[int, list[tuple[int, float | None]]] = {}
        for trial, step, loss in self._points("train_curve"):
            curves.setdefault(trial, []).append((step, loss))
        return {trial: Trace(block_means(curve)) for trial, curve in curves.items()}

    def _points(self, metric: str) -> Sequence[CurvePoint]:
        """Return every report of a metric; none of one that no trial has reported, as before the first report."""
        try:
            return self.points(metric)
        except BadInput:
            return ()

    @property
    def _best(self) -> Mapping[str, object] | None:
        """The best trial as the documents of all commands have it, with the keys of the service's answer."""
        best = self.answer["best"]
        return best and {**best, best["metric"]: best["value"]}

    def row(self) -> Mapping[str, object]:
        """Return its entry in `sweep list --json`: that of a home, and the keys of the service's answer."""
        answer, best = self.answer, self.answer["best"]
        return {
            **answer,
            "sweep": self.id,
            "ended": answer["trials"]["ended"],
            "wanted": answer["trials"]["wanted"],
            "metric": answer.get("metric"),  # of an earlier version, without it
            "best": best and best["value"],
            "best_trial": best and best["trial"],
        }

    def document(self) -> Mapping[str, object]:
        """Return what `sweep show --json` prints."""
        counted_states = dict(Counter(trial["state"] for trial in self._trials))
        same = {
            "sweep": self.id,
            "wanted": self.answer["trials"]["wanted"],
            "states": counted_states,
            "spec": self._spec,
        }
        return {**self.answer, **same, "best": self._best, "trials": self._trials}

    def submitted(self, over: bool) -> Mapping[str, object]:
        """Return what `sweep submit --json` prints. over: with the answer in sentences, which takes all trials."""
        sentences = list(self._sentences()) if over and self.answer["best"] else []
        return {**self.answer, "sweep": self.id, "best": self._best, "answer": sentences}

    def closing_lines(self) -> Iterator[str]:
        """Yield what `sweep submit` prints once it is over: the answer, and which commands come next."""
        if not self.answer["best"]:
            return
        yield from self._sentences() or beside_the_best(self.answer)
        yield f"pull it: sweep best {self.id} --server {self.remote.server} > best.yaml"
        yield f"see it all: sweep report {self.id} --server {self.remote.server} --open"

    def lines(self, top: int) -> Iterator[str]:
        """Yield what `sweep show` prints, with so many trials."""
        return show_lines(self.answer, self._trials, top, self._told.without_health)

    def _sentences(self) -> Sequence[str]:
        """Return the answer without what stands in the table of trials; nothing if the service is away by now."""
        try:
            return self._told.without_health
        except BadInput:
            return ()

    @cached_property
    def _told(self) -> Answer:
        return answer_of(self.spec, self.trials, self.references, self.state)


class ServiceOrigin:
    """The sweeps of a service."""

    def __init__(self, remote: Remote):
        self.remote = remote

    def read(self, sweep: str) -> ServiceSweep:
        """Return a sweep by id or name, in its present state. Raises BadInput for an unknown one."""
        return ServiceSweep(self.remote, self.remote.sweep(self.remote.find(sweep)))

    def read_all(self) -> Iterator[ServiceSweep]:
        """Yield all sweeps, the oldest first."""
        for answer in reversed(list(self.remote.sweeps())):
            yield ServiceSweep(self.remote, answer)

    def listing(self, state: str | None = None) -> Listing:
        """Return a row for each sweep, the newest first. state: only sweeps in this state."""
        answers = list(self.remote.sweeps(state))
        first = f"no sweep there yet; hand one in: sweep submit SPEC --server {self.remote.server}"
        empty = f"no sweep is {state} there" if state else first
        rows = [ServiceSweep(self.remote, answer).row() for answer in answers]
        return Listing(rows, list(table(answers)) or [empty])

    def resume(self, sweep: str, changed: bool, address: str | None, progress: bool) -> None:
        """Ask the service to resume a sweep on its cluster."""
        self.remote.resume(self.remote.find(sweep), changed)

    def extend(self, sweep: str, more: More, changed: bool, address: str | None, progress: bool) -> None:
        """Give a sweep more to train on the service's cluster. Raises BadInput."""
        self.remote.extend(self.remote.find(sweep), more.amount, changed)

    def enqueue(self, sweep: str, points: Sequence[Fields], other: str, top: int) -> Sequence[str]:
        """Add points to a sweep that asks for more trials; return what happens to them. Raises BadInput."""
        answer = self.remote.enqueue(self.remote.find(sweep), points, self.remote.find(other) if other else None, top)
        added = f"added {counted(answer['added'], 'point')} to {answer['id']}, which is {answer['state']}"
        runs = answer["state"] in ("running", "starting")
        again = "it takes them when it goes on"
        if answer["state"] != "queued":
            again += f": sweep resume {answer['id']} --server {self.remote.server}"
        return [f"{added}: it takes each when it next asks for a trial" if runs else f"{added}; {again}"]

    def export(self, sweep: str, out: str | PathLike[str] | None) -> Export:
        """Write a sweep that has ended into a new zip, or a new folder. Raises BadInput."""
        return fetched(self.remote.export, self.remote.find(sweep), out)

    def stop(self, sweep: str, wait: bool) -> Sequence[str]:
        """Stop a sweep on the service's cluster. wait: until it has stopped. Raises BadInput."""
        answer = self.remote.stop(self.remote.find(sweep))
        if wait:
            answer = follow(self.remote, answer["id"], lambda line: None)
        return [state_line(answer["id"], answer)]

    def delete(self, sweep: str, records: bool) -> None:
        """Raise BadInput: a service does not delete sweeps."""
        raise BadInput(f"{sweep}: a service does not delete sweeps; delete it on the machine that has its home")


def trial_of(answer: TrialAnswer) -> TrialResult:
    """Return a trial of a service's answer as a row of a table."""
    return TrialResult(
        number=answer["number"],
        state=answer["state"],
        value=answer["value"],
        params=answer["params"],
        spread=answer.get("spread"),
        verdict=answer.get("verdict", ""),
        evidence=answer.get("evidence", ""),
        duration_s=answer.get("duration_s"),
        mlflow_run=answer.get("mlflow_run", ""),
        scores={int(step): score for step, score in answer.get("scores", {}).items()},
        confirms=answer.get("confirms"),
        ended=_seconds(answer.get("ended")),
    )


def _trace_of(answer: TraceAnswer) -> Trace:
    curve = [(step, loss) for step, loss in answer["curve"] if loss is not None]
    return Trace(curve, Ratios(answer["tensors"], answer["ratios"]))


def _seconds(when: str | None) -> float | None:
    """Return a time of an answer in seconds since 1970."""
    return datetime.fromisoformat(when).timestamp() if when else None
