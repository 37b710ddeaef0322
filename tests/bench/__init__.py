"""Benchmarks: both sides in one run, medians and ratios, dated reports. `make bench`."""
