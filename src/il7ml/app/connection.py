"""A connection that does not wait for ever: neither for a request that comes slowly nor for an answer to be taken."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LOGGER = logging.getLogger("il7ml.app")
_READING = (h11.IDLE, h11.SEND_BODY)  # the client's states while a request is not complete
_SLOW = b"The request did not come to its end. Send it again.\n"


class PatientConnection(H11Protocol):
    """HTTP over one connection, with limits of time that uvicorn does not have.

    uvicorn's own limit counts from an answer to the next byte, so a client that sends nothing, or a byte now and then,
    keeps its connection, and with enough of them all others out.

    Attributes
    ----------
    request_seconds : float
        From connecting, or from a later request's first byte, to the end of the request. Longer than a body may take
        by itself, so that who sends a body too slowly gets the service's own answer.
    answer_seconds : float
        How long an answer may wait for the client to take it.
    """

    request_seconds = 20.0
    answer_seconds = 20.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reading: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._watch_request()

    def data_received(self, data: bytes) -> None:
        """Read on, and see whether the request is complete."""
        super().data_received(data)
        self._watch_request()

    def pause_writing(self) -> None:
        """Begin to wait for the client to take what it asked for."""
        super().pause_writing()
        self._watch_answer()

    def on_response_complete(self) -> None:
        """Wait no longer for an answer that is out; what still lies here must be taken in time."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_answer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        for timer in (self._reading, self._sending):
            if timer is not None:
                timer.cancel()
        self._reading = self._sending = None
        super().connection_lost(exc)

    def _watch_request(self) -> None:
        if self.transport.is_closing() or self.conn.their_state not in _READING:
            if self._reading is not None:
                self._reading.cancel()
                self._reading = None
        elif self._reading is None:
            self._reading = self.loop.call_later(self.request_seconds, self._end_reading)

    def _end_reading(self) -> None:
        self._reading = None
        if self.transport.is_closing():
            return
        begun, _ = self.conn.trailing_data
        if self.conn.our_state is h11.IDLE and begun:  # part of a head, which no application has seen
            _LOGGER.info("path=unknown caller=%s refused=408", self.client[0] if self.client else "unknown")
            head = h11.Response(
                status_code=408,
                headers=[(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")],
                reason=b"Request Timeout",
            )
            for event in (head, h11.Data(data=_SLOW), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._watch_answer()

    def _watch_answer(self) -> None:
        if self._sending is None:
            self._sending = self.loop.call_later(self.answer_seconds, self._end_sending)

    def _end_sending(self) -> None:
        self._sending = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()
