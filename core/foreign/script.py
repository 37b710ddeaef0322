"""The reports of this process, for a script that a sweep starts: `from espalier import report`."""

from espalier.core.foreign.report import Report

report = Report.of_this_process()
"""Reports of the trial that this process trains; outside a sweep they are printed."""
