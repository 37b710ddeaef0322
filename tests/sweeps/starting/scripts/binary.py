"""A script that prints bytes that are no text."""

import argparse
import os

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
os.write(1, bytes(range(256)) * 64)
