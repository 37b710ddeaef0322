"""The command `sweep`: a thin skin over functions. Heavy imports wait until a command needs them."""
