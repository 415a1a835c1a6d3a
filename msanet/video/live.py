"""Cameras, streams and raw frames as they come: JSON lines, a live view, and no waiting behind old frames."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO, TextIO

from msanet.errors import InputError, require
from msanet.images import MAX_PIXELS
from msanet.recognize.recognizer import Recognizer
from msanet.video.frames import Frame, Moment, VideoReader
from msanet.video.page import Page
from msanet.video.recognize import ahead, name_faces
from msanet.video.tracks import Follower, Following, Smoother

SILENCE = 10.0
"""Seconds after which a stream that sends nothing counts as gone."""


@contextmanager
def source(
    name: str | int, frame_size: str | None = None, keep_all: bool = False
) -> Iterator[Latest | Generator[Frame, None, None]]:
    """The frames of a camera by its number, of a stream by its address, or of raw frames on standard input, "-".

    Where they come too fast the newest is taken and those before are dropped, but none of a recording, which has a
    duration and can wait.

    Args:
        name: of the source.
        frame_size: WIDTHxHEIGHT of raw frames.
        keep_all: drop none.

    Raises:
        InputError: it cannot be opened, or the size is missing or wrong.
    """
    frames: VideoReader | Generator[Frame, None, None]
    if isinstance(name, int):
        frames = camera(name)
    elif name == "-":
        size = _size(frame_size)
        # without a buffer, whose lock the reading thread would still hold when the interpreter ends
        frames = raw(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), *size)
    else:
        frames = stream(name)
    if keep_all or (isinstance(frames, VideoReader) and frames.duration is not None):
        with closing(frames), closing(ahead(frames, 1)) as waiting:
            yield waiting
    else:
        with closing(Latest(frames)) as latest:
            yield latest


def _size(text: str | None) -> tuple[int, int]:
    """640x480 -> (640, 480)."""
    match = re.fullmatch("([0-9]+)x([0-9]+)", text or "")
    if match is None or not 0 < int(match[1]) * int(match[2]) <= MAX_PIXELS:
        raise InputError("raw frames need their size: give it as --frame-size WIDTHxHEIGHT, such as 640x480")
    return int(match[1]), int(match[2])


def stream(address: str) -> VideoReader:
    """Open a stream by its address (see `msanet.video.frames.ADDRESSES`). One with a duration is a recording.

    Raises:
        InputError: it cannot be opened.
    """
    scheme, colon, rest = address.partition(":")
    # RTSP's default, UDP, loses packets, and so parts of pictures
    return VideoReader(scheme.lower() + colon + rest, options={"rtsp_transport": "tcp"}, timeout=SILENCE)


def camera(index: int) -> Generator[Frame, None, None]:
    """The frames of a camera of this machine, by its number; 0 is the first.

    By OpenCV, which numbers cameras alike on every system; FFmpeg's names for them differ.

    Raises:
        InputError: the number is not in 0..99, or the camera is not there, or goes away.
    """
    if not 0 <= index < 100:  # OpenCV crashes under 0, and takes the hundreds for other ways to open a camera
        raise InputError(f"there is no camera {index}: they are numbered from 0, and 99 at most")
    import cv2

    av = require("av")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would print lines of its own
    capture = cv2.VideoCapture(index)
    try:
        if not capture.isOpened():
            raise InputError(f"camera {index} cannot be opened: plug it in, or end the program that uses it")
        start, count = time.monotonic(), 0
        while True:
            there, picture = capture.read()
            if not there:
                raise InputError(f"camera {index} gives no more pictures after {count}: plug it in again")
            yield Frame(av.VideoFrame.from_ndarray(picture, format="bgr24"), count, time.monotonic() - start)
            count += 1
    finally:
        capture.release()


def raw(file: BinaryIO, width: int, height: int) -> Generator[Frame, None, None]:
    """Frames of RGB uint8 [height, width, 3], one after the other, from a file such as standard input.

    Raises:
        InputError: it ends within a frame, or has none.
    """
    import numpy as np

    av = require("av")
    start, count = time.monotonic(), 0
    while data := _read(file, width * height * 3):
        if len(data) < width * height * 3:
            raise InputError(
                f"the input ends within frame {count}: give the size of its frames, RGB with 8 bits, as --frame-size"
            )
        picture = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        yield Frame(av.VideoFrame.from_ndarray(picture, format="rgb24"), count, time.monotonic() - start)
        count += 1
    if not count:
        raise InputError("the input holds no frame: write RGB frames with 8 bits to it")


def _read(file: BinaryIO, size: int) -> bytearray:
    """So many bytes, or those before the end; a pipe gives less at a time."""
    data = bytearray()
    while len(data) < size and (part := file.read(size - len(data))):
        data += part
    return data


class Latest:
    """The frames of a source, read in a thread of its own: always the newest, and those that nobody took are dropped.

    Args:
        frames: the source; the thread closes it in the end.

    Attributes:
        dropped: number of frames dropped so far.
    """

    def __init__(self, frames: VideoReader | Generator[Frame, None, None]) -> None:
        self.dropped = 0
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._ended = False
        self._error: BaseException | None = None
        threading.Thread(target=self._read, args=(frames,), daemon=True).start()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                while self._frame is None and not self._ended:
                    self._changed.wait(0.5)  # not for ever, so that Ctrl-C is heard on every system
                frame, self._frame = self._frame, None
            if frame is not None:
                yield frame
            elif self._error is not None:
                raise self._error
            else:
                return

    def close(self) -> None:
        """Read no further. A source that is silent at the moment is closed when it sends something."""
        self._ended = True

    def _read(self, frames: VideoReader | Generator[Frame, None, None]) -> None:
        try:
            with closing(frames):
                for frame in frames:
                    if self._ended:
                        return
                    with self._changed:
                        self.dropped += self._frame is not None
                        self._frame = frame
                        self._changed.notify()
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()


def watch(
    frames: Iterable[Frame],
    recognizer: Recognizer,
    following: Following,
    output: TextIO,
    page: Page | None = None,
) -> None:
    """Write a line of JSON for each frame: frame, time in seconds, dropped (frames so far), faces.

    Args:
        frames: `Latest`, or others, of which none is dropped.
        recognizer: names the expressions; its detector is not used.
        following: how people are followed.
        output: gets the lines, each at once.
        page: shows each frame.
    """
    follower, smoother = Follower(following), Smoother(following)
    for frame in frames:
        sighting = follower(frame)
        (faces,) = name_faces(recognizer, [(frame, sighting)])
        moment = Moment(frame, smoother(faces, sighting.numbers, frame.time))
        line = {
            "frame": frame.index,
            "time": round(frame.time, 4),
            "dropped": getattr(frames, "dropped", 0),
            "faces": [face.to_dict() for face in moment.faces],
        }
        output.write(json.dumps(line) + "\n")
        output.flush()
        if page is not None:
            page.show(moment)
