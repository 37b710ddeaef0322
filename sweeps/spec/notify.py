"""Who is told how a sweep goes: a webhook, and a command."""

import re
from typing import Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from espalier.core.errors import nearest, shown
from espalier.sweeps.spec.domains import Part
from espalier.sweeps.spec.rules import command_words

Event = Literal["first_result", "failure", "end"]
EVENTS: tuple[Event, ...] = get_args(Event)
VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")
WORDS = ("text", "event", "sweep")
"""What a command may have as ${...}."""


class Notify(Part):
    """Who is told when the first result is there, when a trial or the sweep fails, and when the sweep has ended."""

    webhook: str = Field(
        default="",
        max_length=2048,
        description="an address that gets JSON as Slack takes it (text and attachments), or ${NAME}, the environment "
        "variable that has it: a spec is recorded, and such an address is a secret",
    )
    command: tuple[str, ...] = Field(
        default=(),
        max_length=1000,
        description="a command that runs on the machine of the driver, as a list or one text; ${text}, ${event} and "
        "${sweep} in it are filled in, and ESPALIER_NOTIFICATION in its environment has all as JSON",
    )
    on: tuple[Event, ...] = Field(
        default=EVENTS, min_length=1, max_length=3, description="first_result, failure, end; all of them if left out"
    )

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return command_words(value)

    @field_validator("command")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in (name for word in value for name in VARIABLE.findall(word)):
            if name not in WORDS:
                raise ValueError(f"${{{name}}} has no value; {nearest(name, WORDS)}")
        return value

    @field_validator("webhook")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not VARIABLE.fullmatch(value):
            check_address(value)
        return value

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.webhook and not self.command:
            raise ValueError("nobody is told; write webhook or command")
        return self


def check_address(address: str) -> None:
    """Raise ValueError unless an address is one of HTTP."""
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        whole = False
    if not whole or re.search(r"[\s\x00-\x1f]", address):
        raise ValueError(f"{shown(address)} is no address; write https://HOST/..., or ${{NAME}} for a variable's value")
