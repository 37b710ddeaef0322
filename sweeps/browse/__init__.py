"""Looking at sweeps of a home that may run, have ended, or were begun by another version."""
