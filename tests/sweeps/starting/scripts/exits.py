"""A script that fails before it prints its help."""

import argparse
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
sys.exit(3)
