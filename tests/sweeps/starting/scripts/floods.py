"""A script that prints without an end."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
while True:
    print("x" * 1000)
