"""Refuse a sweep that cannot be trained, before anything is started."""

from collections.abc import Callable
from dataclasses import dataclass

from espalier.core.checks import preflight
from espalier.core.checks.rehearsal import REHEARSED, rehearse
from espalier.core.errors import BadInput
from espalier.core.loading.registry import is_reference
from espalier.core.programs import PROGRAMS, own
from espalier.core.task import Data, Task, load_data, load_task, make_task
from espalier.sweeps import cohorts as plan
from espalier.sweeps.guard import guard_task
from espalier.sweeps.home import Home
from espalier.sweeps.own_kinds import code_of
from espalier.sweeps.process_checks import check_processes
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.tracking_uri import resolve_tracking_uri
from espalier.sweeps.search.own_sampler import try_sampler
from espalier.sweeps.spec.spec import SweepSpec


def check_spec(spec: SweepSpec, home: Home, on_named: Callable[[], object] = lambda: None) -> dict[str, object]:
    """Raise BadInput for a sweep that cannot be trained; return the facts of the task: fingerprints, sizes.

    on_named: called after all names in the spec are resolved, before the task is made, which may take long.
    """
    if spec.is_foreign:
        facts = check_processes(spec)
        check_reachable(resolve_tracking_uri(spec.tracking_uri, home.path))
        on_named()
        return facts
    checks = SpecChecks(spec)
    kind, ends = checks.resolve_names()
    check_reachable(resolve_tracking_uri(spec.tracking_uri, home.path))
    on_named()
    facts = dict[str, object]()
    for options in ends:
        task = make_task(kind, spec.task, options)
        checked = preflight.check(task, spec.budget.batch_size, spec.resources.precision)
        checks.try_task(task, checked)
        data = checked.data.fingerprint()
        if facts and data != facts["data"]:
            facts["data.others"] = data
        facts = facts or {
            "data": data,
            "code": code_of(spec, task),
            "parameters": checked.parameters,
            "first_loss": checked.first_loss,
        }
    checks.try_watchers()
    return facts


@dataclass(frozen=True)
class SpecChecks:
    """What a spec must pass beside its task, before a sweep of it starts. Each method raises BadInput."""

    spec: SweepSpec

    def resolve_names(self) -> tuple[type[Task], list[dict[str, object]]]:
        """Resolve what the spec names, and try its own sampler.

        Return the class of its task, which is not made yet, and the options with which it is to be tried.
        """
        spec = self.spec
        guard_task(spec.task)
        kind = plan.check_names(spec)
        ends = plan.end_options(spec)
        plan.watchers(spec)
        if is_reference(spec.resources.program):
            own.check_complete(spec.resources.program)
        try_sampler(spec)
        return kind, ends

    def try_task(self, task: Task, checked: preflight.Preflight) -> None:
        """See whether a task that can train reports the objective, and trains by the spec's program."""
        preflight.check_metric(self.spec.objective.metric, checked.metrics)
        if self.spec.resources.program not in ("auto", "plain"):
            _check_program(self.spec, task, checked.data, checked.hidden)

    def try_watchers(self) -> None:
        """Have the spec's watchers handle a trial of one step, if it names some of the user's own."""
        spec = self.spec
        if not spec.watchers:
            return
        point = plan.first_point(spec)
        task = load_task(spec.task, plan.task_options(spec, point))
        trial, *_ = plan.replicates(spec, REHEARSED.number, point)
        structure, ratios = plan.structure(spec, point), spec.ratios
        rehearse(plan.watchers(spec), task, load_data(task), structure, trial, ratios.samples, ratios.spacing)


def _check_program(spec: SweepSpec, task: Task, data: Data, hidden: str) -> None:
    """Raise BadInput if the spec's program cannot train its task. hidden: a sentence on its state in Python."""
    from espalier.core.native import compiler
    from espalier.core.programs.choose import why_not

    wanted = spec.resources.program
    own_kind = PROGRAMS[wanted] if is_reference(wanted) else None
    if hidden and not (own_kind and own_kind.min_width == 1):
        raise BadInput(f"resources.program: {wanted}: {hidden}; write plain, or auto")
    batch = tuple(tensor[: spec.budget.batch_size] for tensor in data.train)
    if wanted == "native" and compiler() and (reason := why_not("native", task, batch)):
        raise BadInput(f"resources.program: native: the model has no machine code ({reason}); write auto")
    if own_kind:
        structure = plan.structure(spec, plan.first_point(spec))
        own.try_program(wanted, task, data.train, structure.batch_size, structure.optimizer, structure.dtype)
    if wanted in ("vmap", "compiled") and (reason := why_not("vmap", task, batch)):
        raise BadInput(
            f"resources.program: {wanted}: the model cannot run in many lanes ({reason}); write plain, or auto"
        )
