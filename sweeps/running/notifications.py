"""Tell a webhook and a command how a sweep goes. Whatever becomes of it, the sweep goes on.

A thread of its own looks at the progress, as the display does.
"""

import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from espalier.core.errors import brief, briefly
from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.running.webhook import WORDS_MOST, post
from espalier.sweeps.spec.notify import VARIABLE, Event, Notify, check_address, is_left_out

LOOK_S = 0.5
PAUSES_S = (1.0, 3.0)  # before it is tried again
COMMAND_S = 60.0  # that a command may take, and
COMMAND_STOPPED_S = 5.0  # where the sweep was asked to stop: all ends within some ten seconds then
READ_BYTES = 65536  # at once of what a command prints
OUTPUT_MOST = 4096  # bytes of what a command prints that are kept: the last ones


@dataclass(frozen=True)
class Notification:
    """What is told: a sentence, and the facts in it by name."""

    event: Event
    sweep: str
    text: str
    facts: Mapping[str, str | int | float] = field(default_factory=dict[str, "str | int | float"])

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {"event": self.event, "sweep": self.sweep, "text": self.text, **self.facts}

    def message(self) -> dict[str, object]:
        """Return it as Slack and what is like it take it.

        Source: https://api.slack.com/messaging/webhooks, and its reference of attachments.

        >>> Notification("end", "names-1", "names-1: done", {"complete": 3}).message()["text"]
        'names-1: done'
        """
        named = {"sweep": self.sweep, "event": self.event, **self.facts}
        fields = [{"title": name, "value": str(value), "short": True} for name, value in named.items()]
        return {"text": self.text, "attachments": [{"fallback": self.text, "fields": fields}]}

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the words of a command with the sentence in it.

        >>> Notification("end", "names-1", "done").command(["say", "${sweep}: ${text}"])
        ['say', 'names-1: done']
        """
        values = {"text": self.text, "event": self.event, "sweep": self.sweep}
        return [VARIABLE.sub(lambda match: values.get(match[1], match[0]), word) for word in words]


@contextmanager
def notified(progress: Progress) -> Iterator[None]:
    """Tell whom its spec names how a sweep goes, while the block runs and at its end."""
    assert progress.notify
    teller = Teller(progress.notify, progress)
    over = threading.Event()
    thread = threading.Thread(target=teller.watch, args=(over,), daemon=True)
    thread.start()
    error = ""
    try:
        yield
    except BaseException as raised:
        error = briefly(raised)
        raise
    finally:
        over.set()
        thread.join()
        teller.close(error)


class Teller:
    """Tells of a sweep, each thing once."""

    def __init__(self, notify: Notify, progress: Progress, sleep: Callable[[float], object] = time.sleep):
        self.notify, self.progress, self.sleep = notify, progress, sleep
        self.before = set(progress.states)  # of earlier drivers
        self.told: set[Event] = set()

    def watch(self, over: threading.Event) -> None:
        """Tell of what the progress shows until the sweep is over."""
        while not over.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Tell of the first result and the first failure, once they are there."""
        progress = self.progress
        if progress.latest and not self.before:
            trial, step, value = progress.latest
            text = f"first results: {progress.metric} {decimals(value)} at step {step:,} of trial {trial}"
            self.tell("first_result", text, {"trial": trial, "step": step, progress.metric: value})
        failed = [n for n, state in list(progress.states.items()) if state == "failed" and n not in self.before]
        if failed:
            self.tell("failure", f"trial {failed[0]} has failed: sweep show {progress.sweep}", {"trial": failed[0]})

    def close(self, error: str) -> None:
        """Tell how the sweep ended. error: that ended it, "" for none."""
        self.look()
        progress = self.progress
        ended = {state: progress.count(state) for state in sorted({*progress.states.values()})}
        facts: dict[str, str | int | float] = {**ended, "seconds": round(time.monotonic() - progress.begin, 1)}
        best = ""
        if progress.best:
            number, value, params = progress.best
            best = f"{params_text(params, progress.searched)} (trial {number})"
            facts |= {progress.metric: value, "best": best}
            best = f"; best {progress.metric} {decimals(value)}: {best}"
        counts = ", ".join(f"{n} {state}" for state, n in ended.items()) or "no trial"
        then = f"; continue: sweep resume {progress.sweep}"
        if why := error or progress.halted():
            self.told.discard("failure")
            self.tell("failure", f"it has stopped: {why}{then}", facts)
        elif progress.stopping():
            self.tell("end", f"stopped with {counts}{best}{then}", facts)
        else:
            self.tell("end", f"done with {counts}{best or '; none is complete'}", facts)

    def tell(self, event: Event, text: str, facts: Mapping[str, str | int | float]) -> None:
        """Tell of an event, if it is wanted and was not told before."""
        if event in self.told or event not in self.notify.on:
            return
        self.told.add(event)
        told = Notification(event, self.progress.sweep, f"{self.progress.sweep}: {text}", facts)
        for trouble in filter(None, (self._post(told), self._run(told))):
            self.progress.note(f"notify: {trouble}")

    # --- the webhook -------------------------------------------------------------------------------------------------

    def _post(self, told: Notification) -> str:
        """Send it to the webhook; return what went wrong, "" for nothing. Addresses are secret but for their host."""
        address = self.notify.webhook
        if name := VARIABLE.fullmatch(address):
            address = os.environ.get(name[1], "")
            if not address:
                return f"{name[1]}, the variable of the webhook, is not set"
        if not address:
            return ""
        if is_left_out(address):
            return f"the webhook's address is not known here, {address}, so it was not told: {told.text}"
        try:
            check_address(address)
        except ValueError:
            where = f", in {self.notify.webhook}," if name else ""  # an address itself is never shown
            return f"the webhook's address{where} is none of HTTP"
        body = json.dumps(told.message()).encode()
        host = urlsplit(address).hostname
        trouble = ""
        for pause_s in (*PAUSES_S, 0.0):
            trouble, again = post(address, body)
            if not again or self.progress.stopping():
                break
            self.sleep(pause_s)
        return trouble and f"the webhook at {host} {trouble}, so it was not told: {told.text}"

    # --- the command -------------------------------------------------------------------------------------------------

    def _run(self, told: Notification) -> str:
        """Run the command; return what went wrong, "" for nothing."""
        if not self.notify.command:
            return ""
        words = told.command(self.notify.command)
        environment = os.environ | {"ESPALIER_NOTIFICATION": json.dumps(told.document())}
        try:
            process = subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"{brief(words[0])}: {briefly(error)}"
        output = _output(process, self._patience_s)
        if output is None:
            _kill(process)
            return f"{brief(words[0])} took longer than {self._patience_s():g} s, and was ended"
        if process.returncode:
            last = output.decode(errors="replace").strip().rpartition("\n")[2]
            return f"{brief(words[0])} ended with {process.returncode}{f': {brief(last, WORDS_MOST)}' if last else ''}"
        return ""

    def _patience_s(self) -> float:
        return COMMAND_STOPPED_S if self.progress.stopping() else COMMAND_S


def _output(process: "subprocess.Popen[bytes]", patience_s: Callable[[], float]) -> bytes | None:
    """Wait for a command and read all that it prints; return the end of it, None if the command takes too long.

    patience_s: how long it may take since now; asked again and again, since a stop makes it shorter.
    """
    assert process.stdout
    begin, output, printing = time.monotonic(), b"", True
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left_s := begin + patience_s() - time.monotonic()) > 0:
            wait_s = min(left_s, LOOK_S)
            if not printing:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(wait_s)
                    process.stdout.close()
                    return output
            elif selector.select(wait_s):
                piece = os.read(process.stdout.fileno(), READ_BYTES)
                output, printing = (output + piece)[-OUTPUT_MOST:], bool(piece)
    return None


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
