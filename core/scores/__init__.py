"""Scores, one a file: what a trial is worth at a rung. SCORES in `registry` is the only list of them."""
