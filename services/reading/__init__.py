"""What the service reads of sweeps, and shows."""
