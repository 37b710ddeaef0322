"""What a person writes down: read, checked, explained."""
