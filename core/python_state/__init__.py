"""What a task keeps in Python from step to step, written down and read back."""
