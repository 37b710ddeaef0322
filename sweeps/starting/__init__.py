"""From code to a first spec: what a function or a command takes, domains for it, and sweep files of W&B."""
