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
    from av import AudioStream, Packet, VideoFrame
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.video import VideoStream


VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv"}
    | {".qt", ".ts", ".vob", ".webm", ".wmv"}
)
"""Endings, in lower case, of files that are videos or damaged videos; of all others the content tells (`is_video`)."""

VIDEO_FORMATS = (
    "asf,av1,avi,dv,evc,flv,gxf,h261,h263,h264,hevc,ivf,m4v,matroska,mov,mpeg,mpegts,mpegvideo,mxf,nsv,nut,obu,ogg,rm,"
    "swf,vc1,vvc,wtv,yuv4mpegpipe"
)
"""FFmpeg's names of the formats read from files. Others stay closed: it takes texts for pictures of a terminal, and
some formats are lists that name other files."""

ADDRESSES = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://", "udp://")
"""Beginnings, in lower case, by which streams are known."""

MAX_FRAME_PIXELS = 2**26
"""A video of larger frames is refused before one is decoded: 8192 x 8192, twice 8K, as some dozen frames are held."""

JUMP = 10.0
"""Seconds: a step back by more is a jump of the file's clock, as is a step forward where the format's clock may jump
(transport and program streams)."""

LONGEST_STILL = 3600.0
"""Seconds: in other formats a picture may stand for so long; a longer step forward is a jump of the clock too."""

SQUARE = Fraction(1)
"""Sample aspect ratio of square pixels."""

_UNSPECIFIED = 2  # FFmpeg's AVCOL_SPC_UNSPECIFIED
# how pictures begin: JPEG, PNG, GIF, BMP, TIFF, PPM, JPEG 2000; and the brands of those that are stored like MP4
_PICTURES = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"P5",
    b"P6",
    b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51",
)
_BRANDS = (b"avif", b"avis", b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevm", b"hevs", b"hevx", b"mif1", b"msf1")
_CLOCKS = 8  # shifts of a file's clock that are remembered, beside the newest


class Frame:
    """A frame of a video: converted to RGB when asked for, as large as asked for, and not held, which would triple the
    memory of the frames that wait.

    It is always given as it is to be shown: upright, and with square pixels. Where those of the file are not square the
    frame is enlarged along one side, so that none of them is lost.

    Args:
        image: as PyAV decoded it.
        index: its number; 0 is the first.
        time: seconds from the start of the video.
        aspect: width of one of the image's pixels divided by its height (sample aspect ratio).

    Attributes:
        longest: its long side, square pixels.
    """

    def __init__(self, image: VideoFrame, index: int, time: float, aspect: Fraction = SQUARE) -> None:
        self.image = image
        self.index = index
        self.time = time
        # of the shown frame, as it lies in the file
        self._width, self._height = round(image.width * max(aspect, SQUARE)), round(image.height / min(aspect, SQUARE))
        self.longest = max(self._width, self._height)

    def picture(self) -> np.ndarray:
        """The frame, RGB uint8 [H, W, 3]."""
        return self._convert(self._width, self._height)

    def reduced(self, longest: int) -> np.ndarray:
        """The frame, reduced to this long side if it is larger, RGB uint8 [h, w, 3]."""
        factor = min(1.0, longest / self.longest)
        # from YUV straight to a small RGB: 0.3 ms at 720p, where reducing the RGB picture takes 1 ms
        return self._convert(max(1, round(self._width * factor)), max(1, round(self._height * factor)))

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

    Times are the file's, from its start. Where its clock jumps (see `JUMP`, `LONGEST_STILL`) they go on as if it had
    not, and with them the sound.

    Args:
        source: a path, or the address of a stream (see `live`).
        sound: keep the packets of sound, for `AnnotatedVideo`.
        options: FFmpeg's options for opening a stream; None: it is a file.
        timeout: seconds after which a stream that sends nothing counts as gone.

    Attributes:
        name: the path, or the address without user, password and query, for messages.
        duration: seconds; None where the file does not say.
        damaged: number of places that could not be decoded so far.
        broken: why reading ended before the end; None: it did not.

    Raises:
        InputError: there is no such file, it holds no video, or its frames have over `MAX_FRAME_PIXELS`.
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
        self.name = address if options is None else shown_address(address)
        self.damaged = 0
        self.broken: str | None = None
        self._is_stream = options is not None
        self._timeout = timeout
        if options is None:
            if not os.path.isfile(source):
                raise InputError(f"{self.name} does not exist or is no file: check the path")
            if _is_picture(source):
                raise InputError(f"{self.name} is a picture, no video: name a video")
            # a file may be a list that names others: it must not lead to the network
            address, options = f"file:{address}", {"protocol_whitelist": "file", "format_whitelist": VIDEO_FORMATS}
        limits = {"max_pixels": str(MAX_FRAME_PIXELS)}
        try:
            self._container: InputContainer = av.open(
                address, options=options | limits, timeout=timeout, metadata_errors="replace"
            )
        except av.error.FFmpegError as error:
            advice = "check its address" if self._is_stream else "check it, or convert it to MP4"
            raise InputError(f"{self.name} cannot be opened as a video ({self._reason(error)}): {advice}") from None
        try:
            self.video = self._video()
        except InputError:
            self.close()
            raise
        self.video.thread_type = "AUTO"
        self.video.codec_context.options = limits  # of sizes that change on the way
        self.sounds = [stream for stream in self._container.streams.audio if sound and _is_known(stream)]
        self._packets: deque[Packet[Any]] = deque()
        duration = self._container.duration
        self.duration = duration / av.time_base if duration and duration > 0 else None
        start = self._container.start_time
        # what was added to the file's clock between its jumps, seconds, the newest last; before the first frame perhaps
        # unknown, and at its time what is heard from then on
        self._shifts: tuple[Fraction, ...] = () if start is None else (-Fraction(start, av.time_base),)
        self._time = Fraction(0)
        self._clock_jumps = bool(self._container.format.flags & av.format.Flags.ts_discont.value)

    def _video(self) -> VideoStream:
        """The first stream of pictures that move, once it is sure that it can be read."""
        av = require("av")
        streams = self._container.streams
        # the cover of a song is a video of one picture
        videos = [stream for stream in streams.video if not stream.disposition & av.stream.Disposition.attached_pic]
        if not videos or videos[0].codec_context is None:
            kind = "sound only" if streams.audio else "no video"
            raise InputError(f"{self.name} holds {kind}: name a file with pictures in it")
        width, height = videos[0].codec_context.width, videos[0].codec_context.height
        aspect = _checked(videos[0].sample_aspect_ratio)
        if width * height * max(aspect, 1 / aspect) > MAX_FRAME_PIXELS:
            raise InputError(
                f"{self.name} has frames of {width} x {height} pixels, over {MAX_FRAME_PIXELS // 10**6} million: "
                "make them smaller"
            )
        return videos[0]

    def __iter__(self) -> Iterator[Frame]:
        """Frames with increasing times, from the file; where it has none they follow each other at its usual rate."""
        base = self.video.time_base or Fraction(1, 90_000)
        step = 1 / (self.video.guessed_rate or Fraction(25))
        index, self._time = 0, -step
        aspect, coded = _checked(self.video.sample_aspect_ratio), None
        for image in self._images():
            # what the container says comes first, but a broadcast goes from 4:3 to 16:9 and back
            now = self.video.codec_context.sample_aspect_ratio
            if index and now != coded:
                aspect = _checked(now)
            coded = now
            self._time = self._next(None if image.pts is None else image.pts * base, step)
            yield Frame(image, index, float(self._time), aspect)
            index += 1
        if self._is_stream and self.broken:
            raise InputError(f"{self.name} ended after {index} pictures ({self.broken}): check the connection")
        if not index:
            raise InputError(
                f"{self.name} holds no picture that can be decoded, or only some of over "
                f"{MAX_FRAME_PIXELS // 10**6} million pixels: copy or download it again"
            )

    def _next(self, clock: Fraction | None, step: Fraction) -> Fraction:
        """The time of the frame after that of `_time`, for which the file's clock says `clock`."""
        last, following = self._time, self._time + step
        if clock is None:
            return following
        if not self._shifts:
            self._shifts = (-clock,)
        longest = JUMP if self._clock_jumps else LONGEST_STILL
        time = clock + self._shifts[-1]
        if not last - Fraction(JUMP) <= time <= last + Fraction(longest):
            # back to an earlier clock after a few frames of another one, or to a new one
            known = [shift for shift in self._shifts if last < clock + shift <= last + Fraction(JUMP)]
            shift = known[-1] if known else following - clock
            self._shifts = (*[other for other in self._shifts[-_CLOCKS:] if other != shift], shift)
            time = clock + shift
        return time if time > last else following

    def sound_until(self, time: float) -> Iterator[Packet[Any]]:
        """The packets of sound up to a time, each once; their times too are from the start of the video."""

        def place(packet: Packet[Any]) -> tuple[Fraction, Fraction]:
            """A packet's time, and how the file's clock was shifted: as the pictures' was about then."""
            clock = (packet.dts or 0) * packet.time_base
            shift = min(reversed(self._shifts), key=lambda shift: abs(clock + shift - now))
            return clock + shift, shift

        now = Fraction(min(time, float(self._time)))
        while self._packets:
            packet = self._packets[0]
            due, shift = place(packet)
            if len(self._packets) > 1 and place(self._packets[1])[0] < due - Fraction(JUMP):
                self._packets.popleft()  # the next one is in time, so this one is astray
                continue
            if due > time:
                return
            moved = round(shift / packet.time_base)
            packet.dts = (packet.dts or 0) + moved
            packet.pts = None if packet.pts is None else packet.pts + moved
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


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a video, by its content, whatever its ending.

    What cannot be read at all counts as a damaged video if it has one of `VIDEO_SUFFIXES`.
    """
    if _is_picture(path):
        return False
    if os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES:
        return not os.path.isdir(path)
    try:
        VideoReader(path).close()
    except InputError:
        return False
    return True


def _is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as pictures do."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    is_webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    return head.startswith(_PICTURES) or is_webp or (head[4:8] == b"ftyp" and head[8:] in _BRANDS)


def shown_address(address: str) -> str:
    """A stream's address for messages: without user, password and query, in which passwords stand too.

    Also a password with an @ or a slash that should have been written as %40 or %2F is left out, so everything before
    the last @ goes.
    """
    return re.sub("[?#].*", "", re.sub("//.*@", "//", address, flags=re.DOTALL), flags=re.DOTALL)


def _checked(aspect: Fraction | None) -> Fraction:
    """A sample aspect ratio; 1 where there is none, or none that a camera or a broadcast has."""
    return aspect if aspect is not None and Fraction(1, 4) <= aspect <= 4 else SQUARE


def _is_known(sound: AudioStream) -> bool:
    """Whether a stream of sound says enough of itself to be copied; one without packets does not."""
    context = sound.codec_context
    return context is not None and context.sample_rate > 0 and context.layout.nb_channels > 0
