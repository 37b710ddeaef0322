"""The service's own database: owners, tokens, submissions."""
