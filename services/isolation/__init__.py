"""Jobs run code of strangers: what holds them, and how what they have written is read."""
