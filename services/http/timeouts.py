"""Timeouts of HTTP connections: one whose request does not arrive in time is closed."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """uvicorn's protocol with a timeout within a request; its own is only between requests.

    Headers have `head_s` seconds to arrive; a body has the limits of request_body.
    """

    def __init__(self, head_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._head_s = head_s

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answering():
            self._cancel()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._answering():
            self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_request(self) -> None:
        self._cancel()
        self._deadline = self.loop.call_later(self._head_s, self.transport.close)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
