"""A script that asks for something before it reads its arguments."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
input("which data? ")
parser.parse_args()
