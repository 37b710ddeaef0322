"""Reading sweeps for the service's answers."""
