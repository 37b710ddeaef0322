"""What is looked at before anything trains, and the range test."""
