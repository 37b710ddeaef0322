"""References: what an untuned run gets at a sweep's task, beside which the best trial says what tuning gained.

A reference has the task, the budget, the data's order and the seed of the trials. It is none of the search: it has no
number in the study. Where events and records need one, it is negative.
"""

import math
from dataclasses import dataclass

from espalier.sweeps.spec.overrides import without_search
from espalier.sweeps.spec.space import AUTO
from espalier.sweeps.spec.spec import SweepSpec

SHARE_MOST = 0.03  # of a sweep's work, for a reference that nobody asked for
PLAIN_STEPS = 20
"""What a step of a plain program costs, in steps of a program of many lanes: 600 us beside 31 us on names."""
PROGRAMS = "espalier.core.programs.schedule_free"


@dataclass(frozen=True)
class Reference:
    """An untuned run. title: in sentences. hint: how a sweep trains by it."""

    name: str
    title: str
    optimizer: str
    schedule: str
    lr: float
    program: str = AUTO
    hint: str = ""

    @property
    def number(self) -> int:
        """Its number among its sweep's runs."""
        return -1 - [reference.name for reference in REFERENCES].index(self.name)


def _schedule_free(name: str, kind: str, program: str, lr: float) -> Reference:
    program = f"{PROGRAMS}:{program}"
    hint = f"optimizer: sgd, schedule: constant, resources.program: {program}, space.lr: {lr:g}"
    return Reference(name, f"schedule-free {kind} at its defaults", "sgd", "constant", lr, program, hint)


REFERENCES = (
    Reference("adamw", "AdamW at 0.001 with a cosine", "adamw", "cosine", 1e-3),
    _schedule_free("schedule-free-sgd", "SGD", "ScheduleFreeSGD", 1.0),
    _schedule_free("schedule-free-adamw", "AdamW", "ScheduleFreeAdamW", 2.5e-3),
)


def reference(name: str) -> Reference:
    """Return a reference by its name."""
    return next(reference for reference in REFERENCES if reference.name == name)


def wanted_references(spec: SweepSpec) -> list[Reference]:
    """Return the references of a sweep: none if its spec wants none, and none that every trial of it already is."""
    if spec.references is False or spec.is_foreign:
        return []
    return [each for each in REFERENCES if not _is_the_sweep(spec, each)]


def is_affordable(reference: Reference, steps: int, lane_steps: int, plain: bool) -> bool:
    """Whether a reference of so many steps takes at most 3 % of the sweep's work.

    lane_steps: of all trials. plain: whether they trained by the plain program.
    """
    cost = steps * (1 if plain or reference.program == AUTO else PLAIN_STEPS)
    return cost <= SHARE_MOST * lane_steps


def _is_the_sweep(spec: SweepSpec, reference: Reference) -> bool:
    kinds = spec.optimizer.kind, spec.schedule.kind
    exponent = spec.space.lr_exponent
    at_its_rate = isinstance(exponent, int | float) and math.isclose(10.0**exponent, reference.lr)
    return reference.program == AUTO and kinds == (reference.optimizer, reference.schedule) and at_its_rate


def reference_spec(spec: SweepSpec, reference: Reference) -> SweepSpec:
    """Return the spec of a reference: the sweep's, without its search.

    The task's own hyperparameters have their constants, and their defaults where they were searched or conditional.
    """
    from espalier.sweeps.own_kinds import task_domains  # which loads torch

    searched = spec.space.searched() | set(spec.space.conditions)
    own = {name: value for name, value in task_domains(spec).items() if name not in searched}
    seed = spec.space.seed if isinstance(spec.space.seed, int) else 0
    fields = without_search(spec.model_dump(mode="json")) | {
        "optimizer": {"kind": reference.optimizer},
        "schedule": {"kind": reference.schedule},
        "space": own | {"lr_exponent": math.log10(reference.lr), "seed": seed},
        "stopping": None,
        "trials": 1,
        "replicates": 1,
        "confirm": 0,
        "references": False,
    }
    fields["resources"] |= {"program": reference.program, "lanes": 1}
    return SweepSpec.model_validate(fields)
