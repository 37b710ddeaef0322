"""`sweep check` and `sweep lr-range`."""
