"""A sweep while it runs: Ray Tune, workers, the display."""
