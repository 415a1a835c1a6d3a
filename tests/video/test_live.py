"""Cameras, streams and raw frames: every line, no stale frame, and what happens when they go away."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msanet.errors import InputError
from msanet.video import live
from msanet.video.frames import Frame
from msanet.video.tracks import Following
from tests.conftest import HEIGHT, WIDTH, walking

av = pytest.importorskip("av")


@pytest.fixture
def serve():
    """Serves over HTTP what a handler answers: its address."""
    servers = []

    def start(handler) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def lines(frames, recognizer, page=None) -> list[dict[str, Any]]:
    output = io.StringIO()
    live.watch(frames, recognizer, Following(), output, page)
    return [json.loads(line) for line in output.getvalue().splitlines()]


def raw(pictures) -> io.BytesIO:
    return io.BytesIO(b"".join(picture.tobytes() for picture in pictures))


def test_each_raw_frame_gives_a_line(recognizer, portrait):
    result = lines(live.raw(raw(walking(portrait, 5)), WIDTH, HEIGHT), recognizer)
    assert [line["frame"] for line in result] == [0, 1, 2, 3, 4]
    assert [line["dropped"] for line in result] == [0] * 5
    assert (np.diff([line["time"] for line in result]) >= 0).all()
    assert [sorted(face["track"] for face in line["faces"]) for line in result] == [[1, 2, 3]] * 5


def test_a_pipe_gives_a_frame_in_parts():
    class Pipe(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

    frames = list(live.raw(Pipe(bytes(range(192)) * 2), 8, 8))
    assert [frame.picture().tobytes() for frame in frames] == [bytes(range(192))] * 2


def test_raw_frames_of_the_wrong_size_are_one_sentence():
    with pytest.raises(InputError, match="ends within frame 1"):
        list(live.raw(io.BytesIO(bytes(10 * 10 * 3 + 7)), 10, 10))
    with pytest.raises(InputError, match="holds no frame"):
        list(live.raw(io.BytesIO(), 10, 10))


@pytest.mark.parametrize("size", [None, "", "640", "640x", "0x480", "axb", "99999x99999"])
def test_the_size_of_raw_frames_is_needed(size):
    with pytest.raises(InputError, match="--frame-size WIDTHxHEIGHT"), live.source("-", size):
        pass


def test_stale_frames_are_dropped_and_counted():
    arrived = []

    def fast():
        for frame in live.raw(raw([np.zeros((8, 8, 3), np.uint8)] * 60), 8, 8):
            arrived.append(frame.index)
            yield frame
            time.sleep(0.002)

    latest = live.Latest(fast())
    seen = []
    for frame in latest:
        assert len(arrived) - frame.index <= 3  # the newest, or it arrived in this moment
        seen.append(frame.index)
        time.sleep(0.01)
    assert seen == sorted(set(seen))
    assert latest.dropped > 20
    assert len(seen) + latest.dropped == 60


def test_an_error_comes_after_the_frames_before_it():
    def broken():
        yield from live.raw(raw([np.zeros((8, 8, 3), np.uint8)]), 8, 8)
        raise InputError("it went away")

    latest = iter(live.Latest(broken()))
    assert next(latest).index == 0
    with pytest.raises(InputError, match="it went away"):
        next(latest)


class Capture:
    """OpenCV's camera, which gives three pictures and is then unplugged; camera 1 is not there."""

    released = 0

    def __init__(self, index: int) -> None:
        self.index, self.left = index, 3

    def isOpened(self) -> bool:
        return self.index == 0

    def read(self):
        self.left -= 1
        return (True, np.full((48, 64, 3), (255, 0, 0), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        Capture.released += 1


def test_a_camera_that_is_unplugged(monkeypatch):
    monkeypatch.setattr("cv2.VideoCapture", Capture)
    frames: list[Frame] = []
    before = Capture.released
    with (
        pytest.raises(InputError, match="camera 0 gives no more pictures after 3"),
        live.source(0, keep_all=True) as source,
    ):
        frames.extend(source)
    assert len(frames) == 3
    assert (frames[0].picture() == (0, 0, 255)).all()  # OpenCV's are BGR
    assert Capture.released == before + 1


def test_a_camera_that_is_not_there(monkeypatch):
    monkeypatch.setattr("cv2.VideoCapture", Capture)
    with pytest.raises(InputError, match="camera 1 cannot be opened"), live.source(1) as source:
        list(source)


@pytest.mark.parametrize("number", [-1, -(2**70), 100, 99_999_999_999])
def test_numbers_that_no_camera_has_never_reach_opencv(monkeypatch, number):
    monkeypatch.setattr("cv2.VideoCapture", None)
    with pytest.raises(InputError, match=f"no camera {number}"), live.source(number) as source:
        list(source)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_an_interrupt_of_standard_input_ends_in_order(tiny_model):
    """The thread that reads waits in the system then."""
    command = [sys.executable, "-m", "msanet", "recognize", "-", "--frame-size", "64x48", "--model", str(tiny_model)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(bytes(64 * 48 * 3 + 100))
        process.stdin.flush()
        assert b'"frame": 0' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
        assert process.wait(20) == 130
    assert b"Fatal" not in error
    assert b"Traceback" not in error


def test_a_recording_by_its_address_loses_no_frame(serve, make_clip, portrait, recognizer):
    clip = make_clip("recording.mkv", walking(portrait, 30))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    address = serve(partial(Quiet, directory=clip.parent))
    with live.source(f"{address}/{clip.name}") as frames:
        result = lines(frames, recognizer)
    assert [line["frame"] for line in result] == list(range(30))
    assert [line["time"] for line in result] == pytest.approx(np.arange(30) / 25, abs=1e-3)


def test_a_stream_that_falls_silent_is_told(serve, make_clip, portrait, monkeypatch):
    data = make_clip("stream.ts", [portrait[:96, :96]] * 150, options={"bf": "0"}).read_bytes()
    over = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()
            over.wait(10)

        def log_message(self, *_):
            pass

    monkeypatch.setattr(live, "SILENCE", 1.0)
    address = serve(Silent)
    frames: list[Frame] = []
    with (
        pytest.raises(InputError, match="sent nothing for 1 seconds") as caught,
        live.source(f"{address}/live") as source,
    ):
        frames.extend(source)
    over.set()
    assert address in str(caught.value)
    assert frames


def test_nobody_there(serve):
    with pytest.raises(InputError, match="Connection refused"), live.source("http://127.0.0.1:9/x"):
        pass
