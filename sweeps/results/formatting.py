"""Formatting of values: losses and hyperparameters for tables, numbers for JSON."""

import math
from collections.abc import Collection, Mapping
from typing import Any


def decimals(value: float | None) -> str:
    """Return a number with five decimals, or with five digits if it is very small or large; "-" for None.

    >>> decimals(2.318671), decimals(0.0), decimals(-0.001), decimals(4.3217e-7), decimals(12345678.9)
    ('2.31867', '0.00000', '-0.00100', '4.3217e-07', '1.2346e+07')
    """
    if value is None:
        return "-"
    return f"{value:.5f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4e}"


def finite(value: Any) -> Any:
    """Return a value with None for NaN and infinity, which JSON does not have.

    >>> finite({"loss": float("nan"), "curve": [(1, 2.5), (2, float("inf"))]})
    {'loss': None, 'curve': [[1, 2.5], [2, None]]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def params_text(params: Mapping[str, object], names: Collection[str]) -> str:
    """Return the named hyperparameters of a trial as a short text.

    >>> params_text({"lr_exponent": -0.51234, "decay_points": [0.61, 0.8], "seed": 0}, ["lr_exponent", "decay_points"])
    'lr_exponent -0.5123, decay_points 0.61 0.8'
    """
    return ", ".join(f"{name} {_short(value)}" for name, value in params.items() if name in names)


def _short(value: object) -> str:
    if isinstance(value, list):
        return " ".join(_short(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
