"""The stages of a video's recognition, each in a thread of its own."""

from __future__ import annotations

import threading
import time

import pytest

from msanet.errors import InputError
from msanet.video.recognize import ahead


def test_ahead_keeps_order_and_its_distance():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    for number in ahead(items(), 3):
        time.sleep(0.002)
        assert len(made) <= number + 3 + 2  # and one in each hand
    assert made == list(range(50))


def test_ahead_passes_errors_on_and_ends_its_thread():
    def broken():
        yield 1
        raise InputError("broken")

    stream = ahead(broken(), 2)
    assert next(stream) == 1
    with pytest.raises(InputError, match="broken"):
        next(stream)
    threads = threading.active_count()
    endless = ahead(iter(int, 1), 2)
    assert next(endless) == 0
    assert threading.active_count() == threads + 1
    endless.close()
    assert threading.active_count() == threads
