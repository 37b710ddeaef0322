"""Scores, one a file: estimates of a trial's final value at a rung. SCORES in `registry` is the only list of them."""
