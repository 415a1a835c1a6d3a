"""Signals that ask a run to end in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(Exception):
    """The process was asked to end (SIGTERM) or interrupted (SIGINT); what was done is in the checkpoint.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def listening() -> Iterator[list[int]]:
    """The numbers of the signals SIGTERM and SIGINT that come meanwhile; a second SIGINT interrupts at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only that one receives signals
        yield asked
        return

    def note(number: int, _: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
