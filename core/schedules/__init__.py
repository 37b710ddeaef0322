"""Learning-rate schedules, one a file: pure functions of the share of the budget, one column per lane."""
