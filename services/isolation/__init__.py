"""Jobs run untrusted code: how they are confined, and how their files are read."""
