"""For programs and agents: the commands of `sweep` as tools of the Model Context Protocol."""
