"""The training loop: trials, cohorts of lanes, events."""
