"""What is measured while a trial trains, and what it says about the trial."""
