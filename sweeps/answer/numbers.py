"""Numbers in sentences: briefly, in the units in which people think of them."""

import math

from espalier.sweeps.answer.axes import Axis


def short(value: float, digits: int = 2) -> str:
    """Return a cost or a distance, briefly.

    >>> short(0.3021), short(0.0021, 1), short(12.4), short(-0.052), short(0.0), short(3.2e-7), short(0.00001, 1)
    ('.3', '.002', '12', '-.052', '0', '3.2e-07', '1e-05')
    """
    text = f"{value:.{digits}g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def is_share(axis: Axis) -> bool:
    """Whether it is a decay point: a share of the budget, said in per cent."""
    return axis.key == "decay_points"


def spoken(axis: Axis) -> str:
    """Return the name of an axis in sentences: that in the spec; of an exponent "rate", of a decay point "decay"."""
    return (
        "rate"
        if axis.exponent
        else axis.name.replace("_point", "", 1).replace("_", " ")
        if is_share(axis)
        else axis.name
    )


def place_text(axis: Axis, value: float) -> str:
    """Return a value along an axis without its name.

    >>> rate = Axis("lr_exponent", "lr_exponent", -3, 0, rate=True)
    >>> place_text(rate, -0.774), place_text(Axis("decay_point", "decay_points", 0.4, 0.9, place=0), 0.826)
    ('0.168 (10^-0.77)', '83 %')
    """
    if axis.rate and axis.decades:
        exponent = value if axis.exponent else math.log10(value)
        return f"{10.0**exponent:.3g} (10^{exponent:.2f})"
    if axis.whole:
        return f"{round(value)}"
    return f"{100 * value:.0f} %" if is_share(axis) else f"{value:.3g}"


def doubt_text(axis: Axis, value: float, se: float) -> str:
    """Return a value along an axis and its standard error, without its name: on a logarithmic scale a power of ten.

    >>> doubt_text(Axis("momentum", "momentum", 0, 1), 0.9, 0.021)
    '0.9 ± .02'
    >>> doubt_text(Axis("lr", "lr", 1e-3, 1, True), 0.1, 0.1)
    '10^-1.00 ± .1'
    """
    if is_share(axis):
        return f"{100 * value:.0f} ± {100 * se:.0f} %"
    if axis.decades:
        return f"10^{value if axis.exponent else math.log10(value):.2f} ± {short(se, 1)}"
    return f"{value:.4g} ± {short(se, 1)}"


def value_text(axis: Axis, value: float, se: float | None = None) -> str:
    """Return a value with its name, and its standard error where it is known.

    >>> value_text(Axis("lr_exponent", "lr_exponent", -3, 0, rate=True), -0.774, 0.081)
    'rate 0.168 (10^-0.77 ± .08)'
    >>> value_text(Axis("lr", "lr_exponent", 1e-3, 1, True, True), 0.01)
    'lr 0.01 (10^-2.00)'
    >>> value_text(Axis("momentum", "momentum", 0, 1), 0.9, 0.021)
    'momentum 0.9 ± .02'
    """
    number = axis.name.removeprefix("decay_point").removeprefix("_")
    name = (f"decay {number} at" if number else "decay at") if is_share(axis) else spoken(axis)
    if se is None:
        return f"{name} {place_text(axis, value)}"
    rate = f"{axis.value_of(value):.3g} (" if axis.decades else ""
    return f"{name} {rate}{doubt_text(axis, value, se)}{')' if rate else ''}"


def range_text(axis: Axis, low: float, high: float) -> str:
    """Return a range along an axis.

    >>> range_text(Axis("lr_exponent", "lr_exponent", -3, 0, rate=True), -0.92, -0.61)
    '10^-0.92 to 10^-0.61'
    >>> range_text(Axis("hidden", "hidden", 16, 512, True), 40, 200)
    '40 to 200'
    >>> layers = Axis("layers", "layers", 1, 12, whole=True)
    >>> range_text(layers, 3.8, 6.3), range_text(layers, 4.2, 4.4)
    ('4 to 6', '4')
    """
    if axis.whole:  # those whole numbers that are in it, or the nearest to it
        first_whole, last_whole = math.ceil(low), math.floor(high)
        low, high = (first_whole, last_whole) if first_whole <= last_whole else (round((low + high) / 2),) * 2
    if axis.rate and axis.decades:
        first, last = (f"10^{end if axis.exponent else math.log10(end):.2f}" for end in (low, high))
    elif is_share(axis):
        first, last = f"{100 * low:.0f}", f"{100 * high:.0f}"
    else:
        first, last = (f"{end:.0f}" if axis.whole else f"{end:.3g}" for end in (low, high))
    unit = " %" if is_share(axis) else ""
    return f"{first}{unit}" if first == last else f"{first} to {last}{unit}"
