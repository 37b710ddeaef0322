"""The search for the next point. With samplers, only this package imports Optuna."""
