"""State in Python that a task carries from step to step: detecting it, swapping it per trial, saving it."""
