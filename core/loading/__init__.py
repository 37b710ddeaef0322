"""User code in files, modules and notebooks: finding it, importing it, and storing its source."""
