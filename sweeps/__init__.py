"""The search: one file for each outside system."""
