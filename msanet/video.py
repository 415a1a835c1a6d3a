"""Videos: the expressions in each frame, and the annotated video with its sound.

Decoding, detection, classification and encoding run in threads of their own, a few frames apart: the libraries below
release Python's lock.
"""

from __future__ import annotations

import math
import os
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from msanet.batch import in_order
from msanet.drawing import draw
from msanet.errors import InputError, require
from msanet.faces import Face, crop
from msanet.frames import Frame, Moment, Reader
from msanet.images import write
from msanet.recognizer import Found, Recognizer
from msanet.runtime import available_threads
from msanet.timeline import Table, Timeline, writing
from msanet.tracks import Follower, Following, Sighting, Smoother

if TYPE_CHECKING:
    from av.codec.context import CodecContext
    from av.container import OutputContainer
    from av.video import VideoStream

Item = TypeVar("Item")

MP4_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"})
"""FFmpeg's names of the sound that players expect in MP4; with other sound the annotated video is a Matroska file, so
that the sound is copied as it is."""

AHEAD = 4
"""Frames that a stage may be ahead of the next; each is held as it was decoded, 12 MB of 4K."""


def recognize(
    frames: Iterable[Frame],
    recognizer: Recognizer,
    following: Following,
    workers: int | None = None,
) -> Generator[Moment, None, None]:
    """Find and follow the faces of a video and name their expressions, several frames at a time.

    Args:
        frames: such as a `Reader`; they are taken in a thread of their own.
        recognizer: names the expressions, best with `threads=1`; its detector is not used.
        following: how people are followed.
        workers: threads that name expressions; None: as many as there are processors, eight at most.

    Yields:
        A `Moment` for each frame, in order.

    Raises:
        InputError: `workers` is under 1.
    """
    count = available_threads() if workers is None else workers
    if count < 1:
        raise InputError(f"threads is {count}: give 1 or more, or none for all processors")
    follower, smoother = Follower(following, threads=1), Smoother(following)

    def follow(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Sighting]]:
        for frame in frames:
            yield frame, follower(frame)

    def name(batch: list[tuple[Frame, Sighting]]) -> list[tuple[Frame, Sighting, tuple[Face, ...]]]:
        faces = name_faces(recognizer, batch)
        return [(frame, sighting, own) for (frame, sighting), own in zip(batch, faces, strict=True)]

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(count))
        decoded = stack.enter_context(closing(ahead(frames, AHEAD)))
        followed = stack.enter_context(closing(ahead(follow(decoded), AHEAD)))
        batches = iter(lambda: list(islice(followed, AHEAD)), [])
        for named in in_order(pool, name, batches, count + 1):
            for frame, sighting, faces in named:
                yield Moment(frame, smoother(faces, sighting.numbers, frame.time))


def name_faces(recognizer: Recognizer, batch: Sequence[tuple[Frame, Sighting]]) -> list[tuple[Face, ...]]:
    """The faces of some frames with their expressions, named in one run of the network."""
    framing = recognizer.preprocessing.framing
    found = []
    for frame, sighting in batch:
        if sighting.numbers:
            picture = frame.picture()
            places = zip(sighting.boxes, sighting.landmarks, strict=True)
            crops = [crop(picture, box, landmarks, framing) for box, landmarks in places]
            # without the picture, which nobody asks for: eight of them are 200 MB of 4K
            found.append(Found(picture[:0].copy(), "", sighting.boxes, sighting.scores, sighting.landmarks, crops))
    named = iter(recognizer.name(found))
    return [next(named).faces if sighting.numbers else () for _, sighting in batch]


def ahead(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """The same items, made in a thread of their own, which is at most `size` of them ahead."""
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(size)
    closed = threading.Event()

    def put(item: Item | None, error: BaseException | None = None) -> None:
        while not closed.is_set():
            with suppress(queue.Full):
                ready.put((item, error), timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if closed.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        thread.join()  # what it reads from may be closed only then


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

    def __init__(self, path: Path, reader: Reader) -> None:
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
        self._begun = False

    def add(self, moment: Moment) -> None:
        """Add a frame, and the sound up to its time.

        Raises:
            InputError: the file cannot be written any more.
        """
        av = require("av")
        image, base = moment.frame.image, self._video.codec_context.time_base
        picture = draw(moment.frame.picture(), moment.faces)
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


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a video.

    Attributes:
        timeline: each person's expressions, as far as the video was read.
        files: what was written: annotated video, table, picture of the timeline.
        interrupted: whether Ctrl-C ended it.
        failures: a sentence for each thing that went wrong on the way; what was done before is in the files.
    """

    timeline: Timeline
    files: list[Path]
    interrupted: bool
    failures: list[str]


def process(
    path: str | os.PathLike[str],
    recognizer: Recognizer,
    following: Following,
    target: Path | None = None,
    kind: str = "csv",
    annotate: bool = True,
    printed: TextIO | None = None,
    workers: int | None = None,
    progress: Callable[[float, float | None], None] | None = None,
) -> Outcome:
    """Recognise the expressions in a video file, until its end, Ctrl-C, or what makes it impossible to go on.

    Args:
        path: the video.
        recognizer, following, workers: see `recognize`.
        target: path of the files to write, without their endings; their folder must exist. None: nothing is written.
        kind: format of the table, one of `timeline.KINDS`.
        annotate: whether the annotated video is among the files.
        printed: an open text file that gets the table.
        progress: called after each frame with its time and the video's duration (None: not known), in seconds.

    Raises:
        InputError: nothing could be done at all.
    """
    timeline = Timeline(recognizer.expressions)
    sinks: list[Table | AnnotatedVideo] = []
    files: list[Path] = []
    with ExitStack() as stack:
        stop = stack.enter_context(interruptible())
        reader = stack.enter_context(Reader(path, sound=target is not None and annotate))
        moments = stack.enter_context(closing(recognize(reader, recognizer, following, workers)))
        first = next(moments)  # before any file is begun
        if printed is not None:
            sinks.append(Table(printed, kind, recognizer.expressions))
        if target is not None:
            files.append(target.with_name(f"{target.name}.{kind}"))
            sinks.append(Table(files[0], kind, recognizer.expressions))
        if target is not None and annotate:
            video = AnnotatedVideo(target, reader)
            files.append(video.path)
            sinks.append(video)
        failures = _run(chain([first], moments), reader, [timeline, *sinks], stop, progress)
        for sink in sinks:
            _attempt(sink.close, failures)
    if target is not None:
        files.append(target.with_name(f"{target.name}.png"))
        _attempt(lambda: write(files[-1], timeline.draw(os.path.basename(reader.name))), failures)
    if reader.damaged:
        failures.append(
            f"{reader.name} is damaged, {reader.damaged} places could not be decoded: the results are those of the "
            "rest; copy or download it again"
        )
    return Outcome(timeline, [file for file in files if file.exists()], stop.is_set(), failures)


def _run(
    moments: Iterable[Moment],
    reader: Reader,
    sinks: Sequence[Timeline | Table | AnnotatedVideo],
    stop: threading.Event,
    progress: Callable[[float, float | None], None] | None,
) -> list[str]:
    """Hand each moment to the sinks; what went wrong."""
    try:
        for moment in moments:
            for sink in sinks:
                sink.add(moment)
            if progress is not None:
                progress(moment.frame.time, reader.duration)
            if stop.is_set():
                return []
        for sink in sinks:
            if isinstance(sink, AnnotatedVideo):
                sink.add_sound()
    except InputError as error:
        return [str(error)]
    return []


def _attempt(action: Callable[[], None], failures: list[str]) -> None:
    """Do something; if it fails, say so, unless something failed before: a full disk is told of once."""
    try:
        action()
    except InputError as error:
        if not failures:
            failures.append(str(error))


def _fits_mp4(sound: CodecContext) -> bool:
    """Whether MP4 carries such sound; AAC of a transport stream lacks the header that MP4 begins with."""
    return sound.name in MP4_SOUND and (sound.name != "aac" or bool(sound.extradata))


def targets(folder: Path, videos: Sequence[str]) -> dict[str, Path]:
    """Paths, without endings, for the files of each video in a folder, which is made: none twice, never a video's own.

    Raises:
        InputError: the folder cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)

    def key(path: str | Path) -> str:
        return os.path.splitext(os.path.realpath(path))[0].casefold()  # some file systems do not tell A from a

    taken = set(map(key, videos))
    found = {}
    for video in videos:
        stem, number = Path(video).stem, 1
        while key(folder / f"{stem}.mp4") in taken:
            number += 1
            stem = f"{Path(video).stem}-{number}"
        taken.add(key(folder / f"{stem}.mp4"))
        found[video] = folder / stem
    return found


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that a frame is finished first; a second one interrupts at once."""
    stop = threading.Event()

    def handle(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():  # only that one receives signals
        yield stop
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
