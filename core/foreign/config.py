"""The configuration of a trial, as a training function sees it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from espalier.core.errors import nearest
from espalier.core.foreign.folder import Assignment

if TYPE_CHECKING:
    import torch

    from espalier.core.schedules.schedule import RateFunction


class Config(Mapping[str, Any]):
    """The hyperparameters of a trial by their plain names, as attributes and as items, and its schedule.

    seed: for everything random. steps: how many it trains. lr: the peak rate.

    >>> config = Config({"lr": 0.1, "width": 64}, {"kind": "step", "steps": 4, "decay_points": [0.5], "lr": 0.1}, 0, 4)
    >>> config.width, config["lr"], config.get("dropout", 0.0), [round(config.lr_at(step), 3) for step in range(4)]
    (64, 0.1, 0.0, [0.1, 0.1, 0.01, 0.01])
    """

    def __init__(self, values: Mapping[str, Any], schedule: Mapping[str, Any], seed: int, steps: int):
        """schedule: as `espalier.torch_scheduler` takes it; empty where there is no rate."""
        self._values = {**values, "seed": seed, "steps": steps}
        self._schedule = dict(schedule)
        self._rate: RateFunction | None = None

    @classmethod
    def of(cls, assignment: Assignment, defaults: Mapping[str, Any]) -> "Config":
        """Return the configuration of an assignment. defaults: of what it does not name."""
        values = {**defaults, **assignment.values}
        return cls(values, assignment.schedule, assignment.seed, assignment.steps)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_values":  # asked for by copy and pickle, before there are values
            raise AttributeError(name)
        if name in self._values:
            return self._values[name]
        raise AttributeError(f"config.{name}: no such hyperparameter; write it under space; {self._hint(name)}")

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        raise KeyError(f"{name}: no such hyperparameter; write it under space; {self._hint(name)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def _hint(self, name: str) -> str:
        return nearest(name, self._values)

    def lr_at(self, step: int) -> float:
        """Return the rate of a step, counted from 0: what the optimizer is to have when it takes it."""
        from espalier.core.schedules.for_torch import rate_function

        if self._rate is None:
            self._rate = rate_function(self._scheduled("lr_at"))
        return float(self._values["lr"]) * self._rate(step / self._values["steps"]).item()

    def torch_scheduler(
        self, optimizer: "torch.optim.Optimizer", last_step: int = -1
    ) -> "torch.optim.lr_scheduler.LambdaLR":
        """Return the schedule as PyTorch's: call its `step()` after each `optimizer.step()`.

        last_step: the number of steps taken minus 1, to continue a run.
        """
        from espalier.core.schedules.for_torch import torch_scheduler

        return torch_scheduler(self._scheduled("torch_scheduler"), optimizer, last_step)

    def _scheduled(self, method: str) -> Mapping[str, Any]:
        if not self._schedule:
            raise AttributeError(f"config.{method}: there is no rate; write lr under space")
        return self._schedule
