"""A script that never prints its help, and leaves a child that holds its output open."""

import argparse
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)  # of hangs.py"])
print("loading ...", flush=True)
time.sleep(600)
