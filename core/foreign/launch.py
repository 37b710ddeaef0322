"""Launchers: how the process of a trial begins, for a training function and for a command."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from espalier.core.foreign.command import config_text, filled
from espalier.core.foreign.folder import VARIABLE, Assignment, TrialFolder
from espalier.core.foreign.process import TrialProcess
from espalier.core.foreign.programs import PYTHONS, found_program, with_own_programs
from espalier.core.foreign.template import Template

CHILD = "espalier.core.foreign.child"
IMPORT_S = 600.0  # that an import may take before trials stop to wait for it
IMPORT_LEAST_S = 60.0  # and where a trial itself may take less than that


class Launcher(Protocol):
    """Begins the processes of trials."""

    def ready(self, timeout_s: float | None) -> bool:
        """Whether a trial that is launched now starts at once. timeout_s: that a trial may take, if it is bounded."""
        ...

    def launch(self, folder: TrialFolder, assignment: Assignment) -> TrialProcess:
        """Start the process of an assignment that its folder has."""
        ...

    def prepare(self) -> None:
        """Start now what the next trial would wait for."""
        ...

    def close(self) -> None:
        """End what was prepared."""
        ...


class FunctionLauncher:
    """Begins trials of a training function: forked from a process that has imported it, or each with its own import.

    Then a spare process imports it while another trains.
    """

    def __init__(
        self,
        reference: str,
        folder: str,
        env: Mapping[str, str],
        grace_s: float,
        forks: bool,
        program: Sequence[str] = (CHILD,),
    ):
        """folder: in which the code runs. grace_s: see TrialProcess. forks: whether to fork where that is safe.

        program: the module that trains, whose first argument is the function, and further arguments.
        """
        module, *options = program
        self.command = [sys.executable, "-P", "-u", "-m", module, reference, *options]
        self.folder, self.env, self.grace_s, self.forks = folder, env, grace_s, forks
        self.template: Template | None = None
        self.spare: TrialProcess | None = None
        self.prepare()

    def _start(self) -> TrialProcess:
        return TrialProcess.start(self.command, self.folder, self.env, self.grace_s)

    def prepare(self) -> None:
        """Import the function for the next trial."""
        if self.forks:
            self.template = self.template or Template(self.command, self.folder, self.env, self.grace_s)
        else:
            self.spare = self.spare or self._start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the import, where trials are forked; return whether it was done in time. If not, it is ended."""
        if self.template and not self.template.ready(timeout_s):
            self.template.kill()
            self.template = None
            return False
        return True

    def ready(self, timeout_s: float | None) -> bool:
        """Whether no import is awaited. One that takes too long is left to the trials, which import by themselves."""
        if self.template is None or self.template.ready(0):
            return True
        patience_s = IMPORT_S if timeout_s is None else min(IMPORT_S, max(IMPORT_LEAST_S, timeout_s))
        if time.monotonic() - self.template.began < patience_s:
            return False
        self.template.kill()
        self.template, self.forks = None, False
        return True

    def launch(self, folder: TrialFolder, assignment: Assignment) -> TrialProcess:
        """Fork a process, or give the spare one a trial."""
        if self.template:
            if process := self.template.launch(folder):
                process.log_to(folder.output)
                return process
            self.forks = False
            self.close()
        process, self.spare = self.spare or self._start(), None
        process.log_to(folder.output)
        process.send(json.dumps(str(folder.path)))
        return process

    def close(self) -> None:
        """End what was prepared."""
        if self.template:
            self.template.close()
            self.template = None
        if self.spare:
            self.spare.abandon()
            self.spare = None


class CommandLauncher:
    """Begins trials of a command."""

    def __init__(self, template: Sequence[str], folder: str, env: Mapping[str, str], grace_s: float):
        """template: the command with placeholders: see `command.filled`. folder: in which it runs."""
        self.template, self.folder, self.env, self.grace_s = template, folder, env, grace_s

    def prepare(self) -> None:
        """Do nothing: a command gets its values as arguments."""

    def ready(self, timeout_s: float | None) -> bool:
        """Return True: nothing is imported ahead."""
        return True

    def launch(self, folder: TrialFolder, assignment: Assignment) -> TrialProcess:
        """Start the command with the values of an assignment."""
        command = filled(self.template, assignment, folder)
        config = config_text(assignment)
        own = {VARIABLE: str(folder.path), "ESPALIER_SEED": str(assignment.seed), "ESPALIER_CONFIG": config}
        env = {**self.env, **assignment.environment, **own}
        if command[0] in PYTHONS:
            command[0] = found_program(command[0], env) or command[0]
        process = TrialProcess.start(command, self.folder, env, self.grace_s)
        process.log_to(folder.output, always=True)
        process.send("")
        return process

    def close(self) -> None:
        """Do nothing: nothing was prepared."""


def environment() -> dict[str, str]:
    """Return the environment of trials: this process's, without what Ray has set for its own workers.

    And without what makes a process one of several, as torchrun does: a trial is none of those.
    """
    ours = ("RAY_JOB_ID", "RAY_RAYLET_PID", "RAY_CLIENT_MODE", "RANK", "WORLD_SIZE", "LOCAL_RANK")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    # as workers have it, also where no worker starts them: with more threads none could be forked
    return with_own_programs(inherited) | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
