"""Learning rates in a space: written as rates, searched as exponents of ten."""

import math

from espalier.core.errors import shown
from espalier.sweeps.spec.domains import Choice, Domain, Range, extremes

RATES = (1e-40, 1e40)
AUTO = "auto"  # an exponent range to be set by a range test


def exponents_of(rates: Domain) -> Domain:
    """Return a domain of rates as one of exponents, by log10. The rates are above 0.

    >>> exponents_of([0.1, 0.01]), exponents_of(Range(low=1e-4, high=0.1, log=True)).low, exponents_of("auto")
    ([-1.0, -2.0], -4.0, 'auto')
    """
    if isinstance(rates, Range):
        return Range(low=math.log10(rates.low), high=math.log10(rates.high))
    if isinstance(rates, Choice):
        return Choice(choices=[exponent(rate) for rate in rates.choices])
    if isinstance(rates, list):
        return [exponent(rate) for rate in rates]
    return rates if rates == AUTO else exponent(rates)


def exponent(rate: object) -> float:
    """Return the decimal logarithm of a rate."""
    assert isinstance(rate, int | float)  # checked by check_rates
    return math.log10(rate)


def check_rates(rates: Domain) -> None:
    """Raise ValueError for a domain that is none of rates."""
    if getattr(rates, "when", None):
        raise ValueError("every trial has a rate; leave when out")
    for rate in extremes(rates):
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not RATES[0] <= rate <= RATES[1]:
            raise ValueError(f"{shown(rate)} is no rate; give numbers above 0, or auto")
    if isinstance(rates, Range) and (rates.integer or rates.step is not None):
        raise ValueError("a range of rates has neither step nor integer; list the rates, as [0.1, 0.03, 0.01]")
    if isinstance(rates, Range) and not rates.log:
        raise ValueError(
            f"from {rates.low:g} to {rates.high:g} on a linear scale, which would hardly try the small ones; "
            "write log: true, or list the rates"
        )
