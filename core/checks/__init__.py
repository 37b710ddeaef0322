"""Checks of a task before anything trains, and the learning-rate range test."""
