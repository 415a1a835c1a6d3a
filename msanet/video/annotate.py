"""The annotated video, with its sound."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from msanet.drawing.annotate import draw
from msanet.errors import require
from msanet.video.frames import Moment, VideoReader
from msanet.video.timeline import writing

if TYPE_CHECKING:
    from av.codec.context import CodecContext
    from av.container import OutputContainer
    from av.video import VideoStream


MP4_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"})
"""FFmpeg's names of the sound that players expect in MP4; with other sound the annotated video is a Matroska file, so
that the sound is copied as it is."""


class AnnotatedVideo:
    """Writes the frames with what was seen drawn on them, and the sound of the original, as H.264 in MP4.

    The file can be played at any moment of its making, up to the last two seconds, whatever ends it: it is written in
    fragments, which become an ordinary MP4 file at the end. With sound that MP4 does not carry it is a Matroska file.

    Args:
        path: without the ending.
        reader: of the original, made with `sound=True`.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path, reader: VideoReader) -> None:
        av = require("av")
        self._reader = reader
        fits = all(_fits_mp4(sound.codec_context) for sound in reader.sounds)
        self.path = path.with_name(path.name + (".mp4" if fits else ".mkv"))
        options = {
            # without empty_moov the first fragment cannot be read until the end is written
            "movflags": "+hybrid_fragmented+frag_keyframe+empty_moov",
            "flush_packets": "1",
            # sound begins before 0 with what its encoder needs to start; by default all times are shifted by that
            "avoid_negative_ts": "disabled",
        }
        with writing(self.path):
            self._container: OutputContainer = av.open(f"file:{self.path}", "w", options=options if fits else {})
        original = reader.video
        rate = original.average_rate or 25
        self._video: VideoStream = self._container.add_stream("libx264", rate)
        self._video.options = {"preset": "veryfast", "crf": "20", "g": str(max(1, round(2 * rate)))}
        self._video.codec_context.time_base = original.time_base  # times are kept, however they vary
        self._video.pix_fmt = "yuv420p"
        # what drawing's RGB becomes
        self._video.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709
        self._sounds = {sound: self._container.add_stream_from_template(sound) for sound in reader.sounds}
        self._spots: dict[int, tuple[int, int]] = {}  # where each person's text stood last
        self._begun = False

    def add(self, moment: Moment) -> None:
        """Add a frame, and the sound up to its time.

        Raises:
            InputError: the file cannot be written any more.
        """
        av = require("av")
        image, base = moment.frame.image, self._video.codec_context.time_base
        picture = draw(moment.frame.picture(), moment.faces, spots=self._spots)
        if not self._begun:
            self._begun = True
            height, width = picture.shape[:2]
            self._video.width, self._video.height = width // 2 * 2, height // 2 * 2  # YUV 4:2:0 halves both
            if ratio := self._reader.video.sample_aspect_ratio:  # of a pixel
                self._video.codec_context.sample_aspect_ratio = 1 / ratio if image.rotation % 180 else ratio
        # frames whose size changes on the way are brought to that of the first
        drawn = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            self._video.width, self._video.height, "yuv420p", dst_colorspace="ITU709"
        )
        drawn.pts, drawn.time_base, drawn.duration = round(moment.frame.time / base), base, image.duration
        with writing(self.path):
            self._container.mux(self._video.encode(drawn))
            self.add_sound(moment.frame.time)

    def add_sound(self, until: float = math.inf) -> None:
        """Add the sound up to a time, seconds."""
        for packet in self._reader.sound_until(until):
            packet.stream = self._sounds[packet.stream]
            self._container.mux(packet)

    def close(self) -> None:
        """Write what is still being encoded, and the end of the file.

        Raises:
            InputError: the file cannot be written any more.
        """
        with writing(self.path):
            try:
                if self._begun:
                    self._container.mux(self._video.encode())
            finally:
                self._container.close()


def _fits_mp4(sound: CodecContext) -> bool:
    """Whether MP4 carries such sound; AAC of a transport stream lacks the header that MP4 begins with."""
    return sound.name in MP4_SOUND and (sound.name != "aac" or bool(sound.extradata))
