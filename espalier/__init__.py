"""Learning-rate sweeps for PyTorch: many trials as lanes of one program, sharing trunks.

>>> import espalier as es
>>> es.RatioMeter.__name__, es.Task.__name__
('RatioMeter', 'Task')
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier import sweeps
    from espalier.api import check, compare, lr_range, open, rerun, sweep
    from espalier.core.checks.lr_range import RangeTest
    from espalier.core.errors import BadInput
    from espalier.core.foreign.average import WeightAverage
    from espalier.core.foreign.config import Config
    from espalier.core.foreign.report import Report, StopTrial
    from espalier.core.foreign.script import report
    from espalier.core.measures.ratios import RatioMeter
    from espalier.core.numbers import Flag, Number
    from espalier.core.optimizers.optimizer import Optimizer
    from espalier.core.programs.program import Program
    from espalier.core.schedules.for_torch import torch_scheduler
    from espalier.core.schedules.schedule import Schedule
    from espalier.core.scores.score import Score
    from espalier.core.task import Data, Task
    from espalier.core.training.events import Event
    from espalier.core.training.watch import Watcher
    from espalier.result import BestTrial, Result
    from espalier.sweeps.browse.compare import Comparison
    from espalier.sweeps.checks.here import Check
    from espalier.sweeps.repeat.rerun import Rerun
    from espalier.sweeps.samplers import Sampler
    from espalier.sweeps.spec.spec import SweepSpec

__all__ = [
    "BadInput",
    "BestTrial",
    "Check",
    "Comparison",
    "Config",
    "Data",
    "Event",
    "Flag",
    "Number",
    "Optimizer",
    "Program",
    "RangeTest",
    "RatioMeter",
    "Report",
    "Rerun",
    "Result",
    "Sampler",
    "Schedule",
    "Score",
    "StopTrial",
    "SweepSpec",
    "Task",
    "Watcher",
    "WeightAverage",
    "check",
    "compare",
    "lr_range",
    "open",
    "report",
    "rerun",
    "sweep",
    "sweeps",
    "torch_scheduler",
]

_HOMES = {
    "BadInput": "core.errors",
    "Config": "core.foreign.config",
    "Report": "core.foreign.report",
    "StopTrial": "core.foreign.report",
    "WeightAverage": "core.foreign.average",
    "report": "core.foreign.script",
    "RangeTest": "core.checks.lr_range",
    "RatioMeter": "core.measures.ratios",
    "torch_scheduler": "core.schedules.for_torch",
    "Flag": "core.numbers",
    "Number": "core.numbers",
    "Optimizer": "core.optimizers.optimizer",
    "Program": "core.programs.program",
    "Sampler": "sweeps.samplers",
    "Schedule": "core.schedules.schedule",
    "Score": "core.scores.score",
    "Data": "core.task",
    "Task": "core.task",
    "Event": "core.training.events",
    "Watcher": "core.training.watch",
    "BestTrial": "result",
    "Check": "sweeps.checks.here",
    "Comparison": "sweeps.browse.compare",
    "Result": "result",
    "Rerun": "sweeps.repeat.rerun",
    "SweepSpec": "sweeps.spec.spec",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, then and not before: `import espalier` takes no time."""
    if name in ("core", "sweeps", "services"):  # of these, `sweeps` can also be called
        return importlib.import_module(f"espalier.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'espalier' has no attribute '{name}'; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"espalier.{_HOMES.get(name, 'api')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
