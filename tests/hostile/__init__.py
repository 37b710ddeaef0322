"""Kills, full disks, lost servers."""
