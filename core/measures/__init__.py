"""Measurements of a trial while it trains, and verdicts on them."""
