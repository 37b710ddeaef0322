"""Training code with a loop of its own: each trial is a process, which reports through files in the trial's folder."""
