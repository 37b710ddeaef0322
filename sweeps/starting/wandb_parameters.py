"""Parameters of a W&B sweep file as domains: the nearest counterpart of each distribution.

https://docs.wandb.ai/guides/sweeps/sweep-config-keys
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espalier.core.errors import BadInput, brief, shown
from espalier.sweeps.starting.words import as_mapping

SIGMAS = 2.0  # of a normal distribution: its middle 95 %
GRID_POINTS = 5  # of a range, on a grid
KNOWN = ("value", "values", "min", "max", "mu", "sigma", "q", "a", "b", "distribution", "probabilities", "parameters")


@dataclass(frozen=True)
class Domain:
    """A parameter. domain: as a spec has it. note: what of it has no counterpart, "" if all has."""

    name: str
    domain: Any
    note: str = ""


def domains(parameters: object, grid: bool = False, above: str = "") -> Iterator[Domain]:
    """Yield the domains of parameters; nested ones with a dot between their names. grid: whether points are needed.

    Raises BadInput for what W&B would not take.
    """
    fields = as_mapping(parameters)
    if fields is None:
        raise BadInput(f"parameters: {shown(parameters)}; a mapping from names to their values")
    for name, parameter in fields.items():
        whole = f"{above}{name}"
        settings = as_mapping(parameter)
        if settings is None:
            raise BadInput(f"parameters.{whole}: {shown(parameter)}; write value: {shown(parameter, 20)}")
        if "parameters" in settings:
            yield from domains(settings["parameters"], grid, f"{whole}.")
            continue
        yield _domain(whole, settings, grid)


def _domain(name: str, settings: Mapping[str, Any], grid: bool) -> Domain:
    kind = str(settings.get("distribution") or _implied(name, settings))
    if kind not in DISTRIBUTIONS:
        raise BadInput(f"parameters.{name}: unknown distribution '{brief(kind)}'; W&B has {', '.join(DISTRIBUTIONS)}")
    try:
        domain, note = DISTRIBUTIONS[kind](settings)
    except KeyError as error:
        raise BadInput(f"parameters.{name}: {kind} needs {error.args[0]}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"parameters.{name}: {kind} of {shown(dict(settings))}: numbers that rise are wanted") from error
    notes = [note] if note else []
    if "probabilities" in settings:
        notes.append("probabilities have no counterpart; all values are alike")
    notes += [f"{field} is not known" for field in settings if field not in KNOWN]
    if grid and (fields := as_mapping(domain)):
        domain, more = _points(fields)
        notes += [more] if more else []
    return Domain(name, domain, "; ".join(notes))


def _implied(name: str, settings: Mapping[str, Any]) -> str:
    """Return the distribution of a parameter that names none."""
    if "value" in settings:
        return "constant"
    if "values" in settings:
        return "categorical"
    if "min" in settings and "max" in settings:
        return "int_uniform" if isinstance(settings["min"], int) and isinstance(settings["max"], int) else "uniform"
    if "mu" in settings or "sigma" in settings:
        return "normal"
    raise BadInput(f"parameters.{name}: {shown(dict(settings))} has neither value, values, nor min and max")


def _range(low: float, high: float, **more: Any) -> dict[str, Any]:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError
    return {"low": low, "high": high, **more}


def _values(settings: Mapping[str, Any]) -> tuple[Any, str]:
    values: Sequence[Any] = settings["values"]
    if not isinstance(settings["values"], list) or not values:
        raise ValueError
    plain = [value if (fields := as_mapping(value)) is None else str(fields) for value in values]
    note = "mappings among the values have become texts" if plain != values else ""
    return ({"choices": plain} if any(isinstance(value, list) for value in plain) else plain), note


def _constant(settings: Mapping[str, Any]) -> tuple[Any, str]:
    value: Any = settings["value"]
    if fields := as_mapping(value):
        return str(fields), "a mapping has become a text"
    return value, ""


def _uniform(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _range(settings["min"], settings["max"]), ""


def _whole(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _range(settings["min"], settings["max"], integer=True), ""


def _stepped(low: float, high: float, q: float) -> dict[str, Any]:
    """Return multiples of q from low to high."""
    low, high = math.ceil(low / q - 1e-9) * q, math.floor(high / q + 1e-9) * q
    whole = float(q).is_integer()
    ends = (int(low), int(high)) if whole else (_short(low), _short(high))
    return _range(*ends, **({"integer": True} if q == 1 else {"step": q, **({"integer": True} if whole else {})}))


def _q_uniform(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _stepped(settings["min"], settings["max"], settings.get("q", 1)), ""


def _logarithmic(low: float, high: float, note: str = "", q: float | None = None) -> tuple[Any, str]:
    if low <= 0:
        raise ValueError
    if q is None:
        return _range(_short(low), _short(high), log=True), note
    whole = float(q).is_integer() and high >= 1
    rounding = "" if q == 1 and whole else f"steps of {q:g} have no counterpart on a logarithmic scale"
    notes = "; ".join(filter(None, [note, rounding]))
    if whole:
        return _range(max(1, math.ceil(low)), math.floor(high), log=True, integer=True), notes
    return _range(_short(low), _short(high), log=True), notes


EXPONENTS = "min and max were exponents of e"


def _log_uniform(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _logarithmic(math.exp(settings["min"]), math.exp(settings["max"]), EXPONENTS)


def _inv_log_uniform(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _logarithmic(math.exp(-settings["max"]), math.exp(-settings["min"]), EXPONENTS)


def _log_values(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _logarithmic(settings["min"], settings["max"])


def _q_log_uniform(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _logarithmic(math.exp(settings["min"]), math.exp(settings["max"]), EXPONENTS, settings.get("q", 1))


def _q_log_values(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _logarithmic(settings["min"], settings["max"], "", settings.get("q", 1))


BELL = "a normal distribution has become a range of {:g} sigma"


def _ends(settings: Mapping[str, Any]) -> tuple[float, float]:
    mu, sigma = settings.get("mu", 0.0), settings.get("sigma", 1.0)
    return mu - SIGMAS * sigma, mu + SIGMAS * sigma


def _normal(settings: Mapping[str, Any]) -> tuple[Any, str]:
    low, high = _ends(settings)
    return _range(_short(low), _short(high)), BELL.format(2 * SIGMAS)


def _q_normal(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _stepped(*_ends(settings), settings.get("q", 1)), BELL.format(2 * SIGMAS)


def _log_normal(settings: Mapping[str, Any]) -> tuple[Any, str]:
    low, high = _ends(settings)
    return _logarithmic(math.exp(low), math.exp(high), BELL.format(2 * SIGMAS))


def _q_log_normal(settings: Mapping[str, Any]) -> tuple[Any, str]:
    low, high = _ends(settings)
    return _logarithmic(math.exp(low), math.exp(high), BELL.format(2 * SIGMAS), settings.get("q", 1))


def _beta(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _range(0.0, 1.0), "a beta distribution has become all of 0 ... 1"


def _q_beta(settings: Mapping[str, Any]) -> tuple[Any, str]:
    return _stepped(0.0, 1.0, settings.get("q", 1)), "a beta distribution has become all of 0 ... 1"


DISTRIBUTIONS: Mapping[str, Callable[[Mapping[str, Any]], tuple[Any, str]]] = {
    "constant": _constant,
    "categorical": _values,
    "categorical_w_probabilities": _values,
    "int_uniform": _whole,
    "uniform": _uniform,
    "q_uniform": _q_uniform,
    "log_uniform": _log_uniform,
    "log_uniform_values": _log_values,
    "q_log_uniform": _q_log_uniform,
    "q_log_uniform_values": _q_log_values,
    "inv_log_uniform": _inv_log_uniform,
    "inv_log_uniform_values": _log_values,  # 1/x is log-uniform where x is
    "normal": _normal,
    "q_normal": _q_normal,
    "log_normal": _log_normal,
    "q_log_normal": _q_log_normal,
    "beta": _beta,
    "q_beta": _q_beta,
}
"""By distribution, the domain of a parameter's fields, with a note."""


def _points(domain: Mapping[str, Any]) -> tuple[Any, str]:
    """Return a range as a list of points, since a grid needs them, with a note; another domain unchanged."""
    if "low" not in domain or "step" in domain or (domain.get("integer") and not domain.get("log")):
        return domain, ""
    low, high, last = domain["low"], domain["high"], GRID_POINTS - 1
    if domain.get("log"):
        points = [_short(low * (high / low) ** (k / last)) for k in range(GRID_POINTS)]
    else:
        points = [_short(low + (high - low) * k / last) for k in range(GRID_POINTS)]
    if domain.get("integer"):
        points = [round(point) for point in points]
    return list(dict.fromkeys(points)), f"a range has no points for a grid; {GRID_POINTS} of it are listed"


def _short(value: float) -> float:
    """Return a number to six places: those of exp are noise."""
    return float(f"{value:.6g}")
