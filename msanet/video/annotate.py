"""The annotated video, with its sound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from msanet.drawing.annotate import draw
from msanet.errors import require
from msanet.video.frames import Moment, VideoReader
from msanet.video.timeline import writing

if TYPE_CHECKING:
    from av import AudioStream
    from av.codec.context import CodecContext
    from av.container import OutputContainer
    from av.video import VideoStream


MP4_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"})
"""FFmpeg's names of the sound that players expect in MP4; with other sound the annotated video is a Matroska file, so
that the sound is copied as it is."""

FINEST = Fraction(1, 90_000)
"""Seconds: the finest steps of its times."""


class AnnotatedVideo:
    """Writes the frames with what was seen drawn on them, and the sound of the original, as H.264 in MP4.

    The frames are written as they are shown: upright, with square pixels. The file can be played at any moment of its
    making, up to the last two seconds, whatever ends it: it is written in fragments, which become an ordinary MP4 file
    at the end. With sound that MP4 does not carry it is a Matroska file.

    Args:
        path: without the ending.
        reader: of the original, made with `sound=True`.

    Attributes:
        path: of the file.
        failure: what sound is missing, a sentence; None: none is.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path, reader: VideoReader) -> None:
        av = require("av")
        self._reader = reader
        fits = all(_fits_mp4(sound.codec_context) for sound in reader.sounds)
        self.path = path.with_name(path.name + (".mp4" if fits else ".mkv"))
        self.failure: str | None = None
        self._heard: dict[int, int] = {}  # stream of sound -> time of its last packet
        self._last = -1  # time of the last frame
        self._spots: dict[int, tuple[int, int]] = {}  # where each person's text stood last
        self._begun = False
        options = {"flush_packets": "1"}
        if fits:
            # without empty_moov the first fragment cannot be read until the end is written
            options["movflags"] = "+hybrid_fragmented+frag_keyframe+empty_moov"
            # sound begins before 0 with what its encoder needs to start; by default all times are shifted by that
            options["avoid_negative_ts"] = "disabled"
        with _muxing(self.path):
            self._container: OutputContainer = av.open(f"file:{self.path}", "w", options=options)
        original = reader.video
        rate = original.guessed_rate or Fraction(25)
        self._video: VideoStream = self._container.add_stream("libx264", rate)
        # a fragment begins with a picture that needs no other, every two seconds
        self._video.options = {"preset": "veryfast", "crf": "20", "g": str(min(max(1, round(2 * rate)), 250))}
        # times are kept, however they vary; but in finer steps than these MP4 has no room for an hour
        self._video.codec_context.time_base = max(original.time_base or FINEST, FINEST)
        self._video.pix_fmt = "yuv420p"
        # what drawing's RGB becomes
        self._video.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709
        self._sounds: dict[AudioStream, AudioStream] = {}
        for sound in reader.sounds:
            try:
                self._sounds[sound] = self._container.add_stream_from_template(sound)
            except ValueError:  # Matroska has no place for it
                self.failure = (
                    f"{self.path} lacks sound: none of its kind ({sound.name}) can be copied from {reader.name}"
                )

    def add(self, moment: Moment) -> None:
        """Add a frame, and the sound up to its time.

        Raises:
            InputError: the file cannot be written any more.
        """
        av = require("av")
        image, picture = moment.frame.image, draw(moment.frame.picture(), moment.faces, spots=self._spots)
        with _muxing(self.path):
            if not self._begun:
                self._begun = True
                height, width = picture.shape[:2]
                self._video.width, self._video.height = width // 2 * 2, height // 2 * 2  # YUV 4:2:0 halves both
            # frames whose size changes on the way are brought to that of the first
            drawn = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                self._video.width, self._video.height, "yuv420p", dst_colorspace="ITU709"
            )
            base = self._video.codec_context.time_base
            self._last = max(round(moment.frame.time / base), self._last + 1)
            drawn.pts, drawn.time_base = self._last, base
            drawn.duration = round(image.duration * (image.time_base or base) / base)
            self._container.mux(self._video.encode(drawn))
            self.add_sound(moment.frame.time)

    def add_sound(self, until: float = math.inf) -> None:
        """Add the sound up to a time, seconds.

        Raises:
            InputError: the file cannot be written any more.
        """
        with _muxing(self.path):
            for packet in self._reader.sound_until(until):
                sound, time = self._sounds.get(packet.stream), packet.dts or 0
                # a damaged file's may go back
                if sound is not None and time > self._heard.get(sound.index, time - 1):
                    self._heard[sound.index] = time
                    packet.stream = sound
                    self._container.mux(packet)

    def close(self) -> None:
        """Write what is still being encoded, and the end of the file.

        Raises:
            InputError: the file cannot be written any more.
        """
        with _muxing(self.path):
            try:
                if self._begun:
                    self._container.mux(self._video.encode())
            finally:
                self._container.close()


@contextmanager
def _muxing(path: Path) -> Iterator[None]:
    """What FFmpeg or the system refuse becomes one sentence.

    Raises:
        InputError: the file cannot be written.
    """
    error_of_ffmpeg = require("av").error.FFmpegError
    with writing(path):
        try:
            yield
        except OSError:
            raise
        except error_of_ffmpeg as error:
            raise OSError(error.strerror or str(error)) from None


def _fits_mp4(sound: CodecContext) -> bool:
    """Whether MP4 carries such sound; AAC of a transport stream lacks the header that MP4 begins with."""
    return sound.name in MP4_SOUND and (sound.name != "aac" or bool(sound.extradata))
