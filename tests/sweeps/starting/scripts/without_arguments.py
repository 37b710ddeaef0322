"""A script that reads no arguments: asked for help, it would train."""

from pathlib import Path

LR = 0.1
Path("trained").touch()
