"""Training one trial again, to the same bits."""
