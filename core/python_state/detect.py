"""Detect a task's state in Python: its loss is called twice with the same inputs, and snapshots are compared.

A traced program would freeze whatever the second call changes, or would decide differently. One sentence says what it
is, and what to do instead.
"""

import functools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from espalier.core.order import mix
from espalier.core.python_state.copies import UNKEPT
from espalier.core.python_state.outside_inputs import ProcessState, recording_reads
from espalier.core.python_state.snapshot import Roots, Snapshot, by_own_path, changed_variables
from espalier.core.python_state.state import PythonState
from espalier.core.python_state.tokens import counts_up, same_values
from espalier.core.python_state.variables import ABSENT, Variable
from espalier.core.rows import seed_python

REMEMBERED_S = 0.2  # a slower call is nearly all arithmetic, for which plain PyTorch is as fast: it is examined less

Variables = Mapping[str, Variable]
Numbers = Tensor | float | Sequence[Tensor | float] | Mapping[str, Tensor | float]
Call = Callable[[bool], Numbers]
"""Calls a function of a task at fixed inputs; with True at others, with other weights. Returns what it computes."""


class TaskRaised(Exception):
    """A call of the task's code raised, so its state is unknown."""


def find_python_state(
    task: object, model: nn.Module, loss: Call, metrics: Call, passing: tuple[type[BaseException], ...] = ()
) -> PythonState:
    """Return the state in Python that calls of `loss` and `metrics`, each with fixed inputs, change or depend on.

    Their results are compared to the last bit. All state is restored.
    Raises TaskRaised where one of them raises; exceptions in `passing` unchanged.
    """
    roots = {"self": task, "model": model}
    begin = Snapshot(roots)
    reasons, changed = list[str](), dict[str, Variable]()
    for name, function, seed in (("loss", loss, mix(0, 0)), ("metrics", metrics, 0)):
        probe = _Probe(name, functools.partial(_guarded, function, passing), roots, seed, begin)
        reason_at_first, at_first = probe.first_call()
        reason, at_second = probe.second_call()
        reasons.append(reason or reason_at_first)
        changed |= {**at_first, **at_second}
    return _assembled(roots, begin, reasons, changed)


@contextmanager
def state_restored(task: object, model: nn.Module) -> Generator[None]:
    """Restore after the block what calls of the task's functions changed in Python."""
    roots = {"self": task, "model": model}
    begin = Snapshot(roots)
    try:
        yield
    finally:
        after = Snapshot(roots, begin, values=False)
        begin.restore(by_own_path(changed_variables(begin, begin, after)).values())


def _guarded(function: Call, passing: tuple[type[BaseException], ...], other: bool = False) -> Numbers:
    try:
        return function(other)
    except passing:
        raise
    except (Exception, SystemExit) as error:
        raise TaskRaised from error


def _assembled(roots: Roots, begin: Snapshot, reasons: Sequence[str], changed: dict[str, Variable]) -> PythonState:
    """Return the state that consists of the changed variables, each with its initial value."""
    end = Snapshot(roots, begin, values=False)
    moved = by_own_path(changed_variables(begin, begin, end))
    if changed:  # an object that was replaced before the second call belongs to it, too
        filled = {path for path in moved if begin.value(path) is None or begin.value(path) is ABSENT}  # once, for all
        changed |= {path: variable for path, variable in moved.items() if path not in filled}
    shared = sorted(path for path in changed if begin.value(path) is UNKEPT)
    loss_reason, metrics_reason = reasons
    if loss_reason and shared:
        loss_reason += f"; trials of a process share {', '.join(shared)}, so no rerun gives the same numbers"
    variables = [variable for path, variable in changed.items() if path not in shared]
    new = {path: variable for path in end.variables if (variable := begin.variable(path, end))}
    known = begin.variables | by_own_path(new)
    caches = [variable for path, variable in moved.items() if path not in changed]
    state = PythonState(loss_reason, variables, shared, metrics_reason, roots, begin, known, caches)
    with state.of_trial(None):
        return state


@dataclass
class _Probe:
    """Calls one function of a task and detects what that changes.

    name: of the function, for messages. seed: the seed of its random draws. begin: a snapshot before any call.
    """

    name: str
    call: Callable[..., Numbers]
    roots: Roots
    seed: int
    begin: Snapshot

    def first_call(self) -> tuple[str, Variables]:
        """Make the first call, which may create a mask or a table once and for all.

        Return a sentence about its origin, and the variables that hold it. One made from the weights or the batch,
        such as a copy of the first weights, belongs to a trial; else the sentence is "".
        """
        before = Snapshot(self.roots, self.begin) if self.name == "metrics" else self.begin
        numbers = self._numbers()
        after = self._snapshot()
        variables = by_own_path(changed_variables(before, before, after)).values()
        variables = [variable for variable in variables if before.value(variable.path) is not UNKEPT]
        if not variables:
            return "", {}
        contents = [variable.contents() for variable in variables]
        before.restore(variables)
        self.call(True)
        again = self._numbers()
        for variable, value in zip(variables, contents, strict=True):
            variable.set(value)
        if _same_bits(again, numbers):
            return "", {}
        sentence = f"{self.name}() keeps in {variables[0].path} what its first call makes"
        return sentence, by_own_path(changed_variables(self.begin, before, after))

    def second_call(self) -> tuple[str, Variables]:
        """Call twice, and again after a call with other inputs.

        Return a sentence about what that changed or depends on ("" if nothing), and the variables that changed.
        """
        first, before = self._numbers(), self._snapshot()
        seed_python(self.seed)
        process, start = ProcessState.now(), time.thread_time()
        with recording_reads() as reads:
            second = _numbers(self.call())
        seconds = time.thread_time() - start
        after = self._snapshot()
        changed = changed_variables(self.begin, before, after)
        outside = process.changed()
        if outside:  # possibly by another thread, such as Ray's while it starts: not at every call
            seed_python(self.seed)
            process = ProcessState.now()
            self.call()
            outside &= process.changed()
        counters = [p for p in changed if counts_up(before.tokens.get(p), after.tokens.get(p))]
        if sentence := self._sentence(changed, counters, outside, reads):
            return sentence, by_own_path(changed)
        if not _same_bits(first, second):
            return f"two calls of {self.name}() at the same inputs give different numbers", {}
        return ("", {}) if seconds > REMEMBERED_S else self._remembered(after, second)

    def _sentence(self, changed: Variables, counters: Sequence[str], outside: set[str], reads: Sequence[str]) -> str:
        """Return a sentence on the most serious thing that a second call changed or read; "" if there is none."""
        if "random" in outside:
            return f"{self.name}() draws from Python's random"
        if "numpy" in outside:
            return f"{self.name}() draws from numpy.random"
        if counters:
            loss = self.name == "loss"
            advice = "keep the count in a buffer, or take `step`" if loss else "metrics() should count nothing"
            return f"{self.name}() counts its calls in {counters[0]}; {advice}"
        if changed:
            return f"{self.name}() changes {next(iter(changed))}, which is neither parameter nor buffer"
        if outside:
            return f"{self.name}() depends on the environment, which it changes"
        return f"{self.name}() depends on {reads[0]}" if reads else ""

    def _remembered(self, after: Snapshot, numbers: Sequence[Tensor]) -> tuple[str, Variables]:
        """Whether a call depends on the inputs of the previous one. State that is never read does no harm."""
        seed_python(self.seed)
        self.call(True)
        changed = changed_variables(self.begin, after, self._snapshot())
        if _same_bits(self._numbers(), numbers):
            return "", {}
        where = f" in {next(iter(changed))}" if changed else ""
        return f"{self.name}() depends on what it kept{where} from the call before", by_own_path(changed)

    def _numbers(self) -> list[Tensor]:
        """Call with the fixed inputs, under the seed; return copies of the results."""
        seed_python(self.seed)
        return _numbers(self.call())

    def _snapshot(self) -> Snapshot:
        return Snapshot(self.roots, self.begin, values=False)


def _numbers(result: Numbers) -> list[Tensor]:
    values = list(result.values()) if isinstance(result, Mapping) else result
    values = list(values) if isinstance(values, list | tuple) else [values]
    return [torch.as_tensor(each).detach().clone() for each in values]


def _same_bits(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether numbers agree to the last bit; on a GPU, whose atomic additions are not reproducible, nearly."""
    if len(first) != len(second):
        return False
    return all(_same(a, b) for a, b in zip(first, second, strict=True))


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.device.type != "cpu":
        return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-6, equal_nan=True)
    return same_values(a, b)
