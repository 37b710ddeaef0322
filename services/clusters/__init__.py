"""Clusters run jobs: as processes of this machine, or on Ray. Both have one interface."""
