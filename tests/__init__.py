"""Laws and checks; the folders mirror those of the package by name."""
