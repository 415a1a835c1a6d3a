"""The frames of a video file or a stream, with their times; read by PyAV (FFmpeg's libraries, the extra `video`)."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from msanet.errors import InputError, require
from msanet.faces.face import Face

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.video import VideoStream


VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm"}
)
"""Endings, in lower case, by which videos are known."""

ADDRESSES = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://", "udp://")
"""Beginnings by which streams are known."""

_UNSPECIFIED = 2  # FFmpeg's AVCOL_SPC_UNSPECIFIED


class Frame:
    """A frame of a video: converted to RGB when asked for, as large as asked for, and not held, which would triple the
    memory of the frames that wait.

    Args:
        image: as PyAV decoded it.
        index: its number; 0 is the first.
        time: seconds from the start of the video.

    Attributes:
        longest: its long side, pixels.
    """

    def __init__(self, image: VideoFrame, index: int, time: float) -> None:
        self.image = image
        self.index = index
        self.time = time
        self.longest = max(image.width, image.height)

    def picture(self) -> np.ndarray:
        """The frame, upright, RGB uint8 [H, W, 3]."""
        return self._convert(self.image.width, self.image.height)

    def reduced(self, longest: int) -> np.ndarray:
        """The frame, reduced to this long side if it is larger, RGB uint8 [h, w, 3]."""
        factor = min(1.0, longest / self.longest)
        # from YUV straight to a small RGB: 0.3 ms at 720p, where reducing the RGB picture takes 1 ms
        return self._convert(max(1, round(self.image.width * factor)), max(1, round(self.image.height * factor)))

    def _convert(self, width: int, height: int) -> np.ndarray:
        image = self.image
        # as players do with pictures that do not say how their colours were coded
        unsaid = image.colorspace == _UNSPECIFIED and not image.format.is_rgb
        matrix = ("ITU709" if image.height >= 720 else "ITU601") if unsaid else None
        pixels = image.to_ndarray(
            format="rgb24", width=width, height=height, interpolation="AREA", src_colorspace=matrix
        )
        turns = round(image.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


@dataclass(frozen=True, eq=False)
class Moment:
    """A frame and the faces in it, the largest first, each with its `track` and smoothed probabilities."""

    frame: Frame = field(repr=False)
    faces: tuple[Face, ...]


class VideoReader:
    """The frames of a video file or a stream, in order. Use it in a `with` statement.

    Args:
        source: a path, or the address of a stream (see `live`).
        sound: keep the packets of sound, for `AnnotatedVideo`.
        options: FFmpeg's options for opening a stream; None: it is a file.
        timeout: seconds after which a stream that sends nothing counts as gone.

    Attributes:
        duration: seconds; None where the file does not say.
        damaged: number of places that could not be decoded so far.
        broken: why reading ended before the end; None: it did not.

    Raises:
        InputError: there is no such file, or it holds no video.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        sound: bool = False,
        options: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        av = require("av")
        address = os.fspath(source)
        self.name = re.sub("//[^/@]*@", "//", address)  # messages tell no password
        self.damaged = 0
        self.broken: str | None = None
        self._is_stream = options is not None
        self._timeout = timeout
        if options is None:
            if not os.path.isfile(source):
                raise InputError(f"{self.name} does not exist or is no file: check the path")
            # a file may be a list that names others: it must not lead to the network
            address, options = f"file:{address}", {"protocol_whitelist": "file"}
        try:
            self._container: InputContainer = av.open(address, options=options, timeout=timeout)
        except av.error.FFmpegError as error:
            advice = "check its address" if self._is_stream else "check it, or convert it to MP4"
            raise InputError(f"{self.name} cannot be opened as a video ({self._reason(error)}): {advice}") from None
        streams = self._container.streams
        # the cover of a song is a video of one picture
        videos = [stream for stream in streams.video if not stream.disposition & av.stream.Disposition.attached_pic]
        if not videos or videos[0].codec_context is None:
            kind = "sound only" if streams.audio else "no video"
            self.close()
            raise InputError(f"{self.name} holds {kind}: name a file with pictures in it")
        self.video: VideoStream = videos[0]
        self.video.thread_type = "AUTO"
        self.sounds = [stream for stream in streams.audio if sound and stream.codec_context is not None]
        self._packets: deque[Packet[Any]] = deque()
        duration = self._container.duration
        self.duration = duration / av.time_base if duration and duration > 0 else None
        self._start = None if self._container.start_time is None else Fraction(self._container.start_time, av.time_base)

    def __iter__(self) -> Iterator[Frame]:
        """Frames with increasing times, from the file; where it has none they follow each other at its mean rate."""
        base = self.video.time_base or Fraction(1, 90_000)
        step = max(1, round(1 / ((self.video.average_rate or 25) * base)))
        index, last = 0, None
        for image in self._images():
            if image.pts is None or (last is not None and image.pts <= last):
                image.pts = 0 if last is None else last + step
            last = image.pts
            time = image.pts * base
            if self._start is None:
                self._start = time
            yield Frame(image, index, float(time - self._start))
            index += 1
        if self._is_stream and self.broken:
            raise InputError(f"{self.name} ended after {index} pictures ({self.broken}): check the connection")
        if not index:
            raise InputError(f"{self.name} holds no picture that can be decoded: copy or download it again")

    def sound_until(self, time: float) -> Iterator[Packet[Any]]:
        """The packets of sound up to a time, each once; their times too are from the start of the video."""
        while self._packets:
            packet = self._packets[0]
            start = round((self._start or 0) / packet.time_base)
            if packet.dts is None or float((packet.dts - start) * packet.time_base) > time:
                return
            packet.dts -= start
            packet.pts = None if packet.pts is None else packet.pts - start
            yield self._packets.popleft()

    def _images(self) -> Iterator[VideoFrame]:
        """What can be decoded; what cannot is counted."""
        av = require("av")
        packets = self._container.demux(self.video, *self.sounds)
        while True:
            try:
                packet = next(packets)
                if packet.stream is not self.video:
                    if packet.dts is not None:
                        self._packets.append(packet)
                    continue
                self.damaged += packet.is_corrupt  # where something is missing before it
                images = self.video.decode(packet)
            except StopIteration:
                return
            except av.error.InvalidDataError:  # of one packet
                self.damaged += 1
                continue
            except av.error.FFmpegError as error:  # of the whole rest
                self.damaged += 1
                self.broken = self._reason(error)
                return
            for image in images:
                self.damaged += image.is_corrupt
                yield image

    def _reason(self, error: FFmpegError) -> str:
        if isinstance(error, require("av").error.ExitError):
            return f"it sent nothing for {self._timeout:g} seconds"
        return error.strerror or str(error)

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
