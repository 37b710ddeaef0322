"""The command `sweep`: a thin layer over functions. Heavy imports happen only in the commands that need them."""
