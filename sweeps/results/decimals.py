"""How a loss or a metric is written for a person."""


def decimals(value: float | None) -> str:
    """Return five decimals, or five digits of a number for which that would say little; "-" where there is none.

    >>> decimals(2.318671), decimals(0.0), decimals(-0.001), decimals(4.3217e-7), decimals(12345678.9)
    ('2.31867', '0.00000', '-0.00100', '4.3217e-07', '1.2346e+07')
    """
    if value is None:
        return "-"
    return f"{value:.5f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4e}"
