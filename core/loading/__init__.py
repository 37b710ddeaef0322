"""People's files, modules and notebooks: finding them, and keeping their source."""
