"""The user's code of a sweep: which files it is, its recorded copy, what has changed since, and the environment."""
