"""Ready tasks. A spec names them in short: `task: names`."""

from collections.abc import Mapping

READY: Mapping[str, str] = {
    "names": "names:Names",
    "deep-names": "deep_names:DeepNames",
    "thermometer": "thermometer:Thermometer",
    "line": "line:Line",
    "digits": "digits:Digits",
    "digits-conv": "digits:DigitsConv",
    "fashion": "fashion:Fashion",
}
"""By short name: the file in this folder and the class in it."""
