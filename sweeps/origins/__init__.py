"""Where sweeps are kept: a home on this machine, or a service. Both keep one contract."""
