"""Reading the sweeps of a home: running, ended, or begun by another version."""
