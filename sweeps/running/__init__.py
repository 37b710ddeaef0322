"""Running a sweep: the driver, Ray Tune, workers, the display."""
