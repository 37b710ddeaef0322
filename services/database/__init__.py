"""What the service keeps itself: owners, tokens, submissions."""
