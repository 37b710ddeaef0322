"""The search, its records and its command line."""
