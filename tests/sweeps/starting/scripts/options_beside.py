"""The options of a script, in a module of their own."""

import argparse

RATE = 0.1


def parser():
    """Return the parser."""
    made = argparse.ArgumentParser()
    made.add_argument("--learning-rate", type=float, default=RATE)
    made.add_argument("--momentum", type=float, default=0.9)
    made.add_argument("--dropout", type=float, default=0.2)
    made.add_argument("--truth", type=lambda text: text == "true", default=False)
    made.add_argument("--data", required=True)
    made.add_argument("--max-steps", type=int, default=40)
    made.add_argument("--epochs", type=int, default=3)
    return made
