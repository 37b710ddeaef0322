"""The ready tasks by short name: `task: names` in a spec."""

from collections.abc import Mapping

READY: Mapping[str, str] = {
    "names": "core.tasks.names:Names",
    "deep-names": "core.tasks.deep_names:DeepNames",
    "thermometer": "core.tasks.thermometer:Thermometer",
    "line": "core.tasks.line:Line",
    "digits": "core.tasks.digits:Digits",
    "digits-conv": "core.tasks.digits:DigitsConv",
    "fashion": "core.tasks.fashion:Fashion",
}
"""The module, within this package, and the class in it."""
