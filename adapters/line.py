"""The connection to a worker: numbered requests, numbered answers of a bounded size, and a watch over every wait.

A request is a pickle of its number and what is asked: a worker trusts its parent. The parent does not trust a worker, where
any kernel may have written anything: an answer is a head (its number and two sizes), a text and the bytes of arrays, which
`adapters.wire` reads without running anything.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
from dataclasses import dataclass
from typing import Any, Protocol

from adapters.output import Output
from adapters.wire import ForgedError, Message

_HEAD = struct.Struct("!QQQ")
_PART = 2**20
"""Bytes that are read or written at once."""
GLANCE = 0.05
"""Seconds between two looks at a process that does nothing."""


class Watch(Protocol):
    """What a wait is ended by: both methods raise."""

    def check_time(self) -> None:
        """Called before each part of a message."""

    def check_process(self) -> None:
        """Called after each glance in which nothing came over the connection."""


@dataclass(frozen=True)
class Most:
    """Bytes that an answer may have."""

    text: int
    arrays: int


class Line:
    """The parent's end; what the worker writes elsewhere meanwhile is read too, so that it never waits to be."""

    def __init__(self, end: socket.socket, output: Output) -> None:
        end.setblocking(False)
        self._socket, self._output = end, output

    def send(self, number: int, request: tuple[Any, ...], watch: Watch) -> None:
        """Send a request.

        Raises:
          OSError: the other end is closed.
        """
        left = memoryview(pickle.dumps((number, *request)))
        while left:
            self._wait(select.POLLOUT, watch)
            left = left[self._socket.send(left[:_PART]) :]

    def receive(self, number: int, most: Most, watch: Watch) -> Message:
        """The answer to the request of a number.

        Raises:
          ForgedError: it is the answer to another request, or too large.
          EOFError, OSError: the other end is closed.
        """
        answered, text, arrays = _HEAD.unpack(self._read(_HEAD.size, watch))
        if answered != number or text > most.text or arrays > most.arrays:
            raise ForgedError(f"request {number} is answered by number {answered}, of {text} and {arrays} bytes")
        return Message(self._read(text, watch), self._read(arrays, watch))

    def has_unread(self) -> bool:
        """True if the other end has said something that nobody asked for."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _read(self, size: int, watch: Watch) -> bytearray:
        data = bytearray()
        while len(data) < size:
            self._wait(select.POLLIN, watch)
            if not (part := self._socket.recv(min(size - len(data), _PART))):
                raise EOFError
            data += part
        return data

    def _wait(self, event: int, watch: Watch) -> None:
        watch.check_time()
        while not self._is_ready(event):
            watch.check_process()
            watch.check_time()

    def _is_ready(self, event: int) -> bool:
        """True if the other end is, within a glance."""
        poll = select.poll()
        poll.register(self._socket, event)
        for fd in self._output.fds:
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(1000 * GLANCE)}
        if ready.intersection(self._output.fds):
            self._output.read()
        return self._socket.fileno() in ready

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def answer(end: socket.socket, number: int, message: Message) -> None:
    """Send an answer, at the worker's end."""
    end.sendall(_HEAD.pack(number, len(message.text), len(message.arrays)) + message.text + message.arrays)
