"""Who is told how a sweep goes: a webhook, and a command.

The address of a webhook is a secret. A spec is written without it, except where the driver has to read it again:
`spec.whole_fields`. So what a later feature writes of a spec has no secret either.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, SerializationInfo, field_serializer, field_validator, model_validator

from espalier.core.errors import nearest
from espalier.sweeps.spec.domains import Part
from espalier.sweeps.spec.rules import command_words
from espalier.sweeps.spec.values import WHOLE

Event = Literal["first_result", "failure", "end"]
EVENTS: tuple[Event, ...] = get_args(Event)
VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")
WORDS = ("text", "event", "sweep")
"""What a command may have as ${...}."""
ADDRESS_MOST = 2048  # characters
LEFT_OUT = "***"  # in place of the path of an address


class Notify(Part):
    """Who is told when the first result is there, when a trial or the sweep fails, and when the sweep has ended."""

    webhook: str = Field(
        default="",
        max_length=ADDRESS_MOST,
        description="an address that gets JSON as Slack takes it (text and attachments), or ${NAME}, the environment "
        "variable that has it: such an address is a secret, of which what is shown or given away has the host alone",
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

    @model_validator(mode="before")
    @classmethod
    def _fields(cls, value: object) -> object:
        if not isinstance(value, Mapping | Notify):  # perhaps an address, which a message does not show
            raise ValueError("what stands there has no fields; write notify: {webhook: ...} or notify: {command: ...}")
        return value  # pyright: ignore[reportUnknownVariableType]

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

    @field_validator("webhook", mode="before")  # before others whose messages would show it
    @classmethod
    def _address(cls, value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"what stands there is no address; {ADDRESSES}")
        if value and not VARIABLE.fullmatch(value):
            check_address(value)
        return value

    @field_serializer("webhook")
    def _written(self, value: str, info: SerializationInfo) -> str:
        return value if info.context == WHOLE else host_alone(value)

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.webhook and not self.command:
            raise ValueError("nobody is told; write webhook or command")
        return self

    def notes(self) -> list[str]:
        """Return notes on what is valid and may not do what the author expects."""
        left_out = "notify.webhook: its address is left out of this copy of the spec; write it, or nobody is told"
        return [left_out] if is_left_out(self.webhook) else []


ADDRESSES = "write https://HOST/..., or ${NAME} for a variable's value"


def check_address(address: str) -> None:
    """Raise ValueError, whose message has nothing of the address, unless it is one of HTTP."""
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        whole = False
    if address.startswith("${"):
        raise ValueError(f"what begins with ${{ there is no name of a variable; {ADDRESSES}")
    if not whole or len(address) > ADDRESS_MOST or re.search(r"[\s\x00-\x1f]", address):
        raise ValueError(f"what stands there, a secret that is not shown, is no address; {ADDRESSES}")


def host_alone(address: str) -> str:
    """Return an address of HTTP with its host alone; "" and the name of a variable as they are.

    >>> host_alone("https://ada:pw@hooks.slack.com:8443/services/T0/B1/x9y8z7?token=1")
    'https://hooks.slack.com:8443/***'
    >>> host_alone("${TEAM_WEBHOOK}"), host_alone("")
    ('${TEAM_WEBHOOK}', '')
    """
    if not address or VARIABLE.fullmatch(address):
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return LEFT_OUT
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{LEFT_OUT}" if parts.netloc else LEFT_OUT


def is_left_out(address: str) -> bool:
    """Whether of an address the host alone is known."""
    return address.endswith(f"/{LEFT_OUT}")


def public_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a spec, as somebody wrote or stored them, without its secrets.

    >>> public_fields({"name": "a", "notify": {"webhook": "https://host/secret"}})
    {'name': 'a', 'notify': {'webhook': 'https://host/***'}}
    """
    notify = fields.get("notify")
    if not isinstance(notify, Mapping) or not isinstance(address := notify.get("webhook"), str):
        return dict(fields)
    return {**fields, "notify": {**notify, "webhook": host_alone(address)}}
