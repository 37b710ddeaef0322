"""Origins of sweeps: a home on this machine, or a service, with one interface."""
