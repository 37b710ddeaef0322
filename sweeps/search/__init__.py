"""Which point comes next: the only room that speaks to Optuna."""
