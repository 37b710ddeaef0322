"""Train trials of a program's function in parts: `python parts.py REFERENCE JOBS`, in one process, so with one import.

JOBS: a list of {folder, parts, fields}: of each trial its folder, the steps at which it is parked, and its assignment.
For each a line of JSON follows, with its lines of reports.jsonl and how its parts ended.
"""

import json
import os
import sys
from pathlib import Path

from espalier.core.foreign.child import load_function, seed_all, train
from espalier.core.foreign.folder import VARIABLE, Assignment, TrialFolder

MARK = "trained: "

if __name__ == "__main__":
    function = load_function(sys.argv[1])
    for job in json.loads(sys.argv[2]):
        folder = TrialFolder(Path(job["folder"]))
        os.environ[VARIABLE] = job["folder"]
        ends = []
        for until in [*job["parts"], None]:
            resume = folder.checkpoint(until or sys.maxsize)
            folder.assign(Assignment(**job["fields"], until=until, resume=resume))
            seed_all(0)
            ends.append(train(function, folder.assignment(), folder))
        print(MARK + json.dumps({"lines": folder.lines(), "ends": ends}), flush=True)
