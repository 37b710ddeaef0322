"""A sweep service, seen from outside."""
