"""A video file: its table, its annotated copy and its timeline."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

from msanet.errors import InputError
from msanet.files import ANNOTATED, TIMELINE, file_name, printable
from msanet.images import write
from msanet.recognize.recognizer import Recognizer
from msanet.video.annotate import AnnotatedVideo
from msanet.video.frames import Moment, VideoReader
from msanet.video.recognize import recognize
from msanet.video.timeline import Table, Timeline, writing
from msanet.video.tracks import Following


@dataclass(frozen=True, eq=False)
class VideoOutcome:
    """What came of a video.

    Attributes:
        timeline: each person's expressions, as far as the video was read.
        files: what was written: annotated video, table, picture of the timeline.
        interrupted: the signal that ended it, Ctrl-C's or the system's; None: none did.
        failures: a sentence for each thing that went wrong on the way; what was done before is in the files.
    """

    timeline: Timeline
    files: list[Path]
    interrupted: signal.Signals | None
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
) -> VideoOutcome:
    """Recognise the expressions in a video file, until its end, Ctrl-C (SIGINT or SIGTERM), or what makes it
    impossible to go on.

    The files are whole however it ends. Of a run that is killed the annotated video can be played up to its last two
    seconds, and the table has all that it shows (but see `Table` on Parquet).

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
        stop = stack.enter_context(stopping())
        reader = stack.enter_context(VideoReader(path, sound=target is not None and annotate))
        moments = stack.enter_context(closing(recognize(reader, recognizer, following, workers)))
        first = next(moments)  # before any file is begun
        if printed is not None:
            sinks.append(Table(printed, kind, recognizer.expressions))
        if target is not None:
            files.append(target.with_name(f"{target.name}.{kind}"))
            sinks.append(Table(files[0], kind, recognizer.expressions))
        if target is not None and annotate:
            video = AnnotatedVideo(target.with_name(target.name + ANNOTATED), reader)
            files.append(video.path)
            sinks.append(video)
        failures = _run(chain([first], moments), reader, [timeline, *sinks], stop, progress)
        for sink in sinks:
            _attempt(sink.close, failures)
        if target is not None:
            files.append(target.with_name(f"{target.name}{TIMELINE}.png"))
            _attempt(lambda: write(files[-1], timeline.draw(printable(os.path.basename(reader.name)))), failures)
        failures += [sink.failure for sink in sinks if isinstance(sink, AnnotatedVideo) and sink.failure]
    if reader.damaged:
        failures.append(
            f"{reader.name} is damaged, {reader.damaged} places could not be decoded: the results are those of the "
            "rest; copy or download it again"
        )
    return VideoOutcome(timeline, [file for file in files if file.exists()], stop.signal, failures)


def _run(
    moments: Iterable[Moment],
    reader: VideoReader,
    sinks: Sequence[Timeline | Table | AnnotatedVideo],
    stop: Stop,
    progress: Callable[[float, float | None], None] | None,
) -> list[str]:
    """Hand each moment to the sinks; what went wrong."""
    try:
        for moment in moments:
            for sink in sinks:
                sink.add(moment)
            if progress is not None:
                progress(moment.frame.time, reader.duration)
            if stop.signal is not None:
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


def targets(folder: Path, videos: Sequence[str]) -> dict[str, Path]:
    """Paths, without endings, for the files of each video in a folder, which is made: none twice, never a video's own,
    and none that is there already.

    Raises:
        InputError: the folder cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)

    def key(path: str | Path) -> str:
        return os.path.splitext(os.path.realpath(path))[0].casefold()  # some file systems do not tell A from a

    taken = {*map(key, videos), *map(key, folder.iterdir())}
    found = {}
    for video in videos:
        name = stem = file_name(Path(video).stem)
        number = 1
        while key(folder / f"{stem}.mp4") in taken:
            number += 1
            stem = f"{name}-{number}"
        taken.add(key(folder / f"{stem}.mp4"))
        found[video] = folder / stem
    return found


@dataclass
class Stop:
    """Whether it is time to end.

    Attributes:
        signal: that asked for it; None: none did.
    """

    signal: signal.Signals | None = None


@contextmanager
def stopping() -> Iterator[Stop]:
    """Ctrl-C (SIGINT) and SIGTERM ask for the end, so that a frame is finished first; a second interrupts at once."""
    stop = Stop()

    def handle(number: int, _: object) -> None:
        if stop.signal is not None:
            raise KeyboardInterrupt
        stop.signal = signal.Signals(number)

    if threading.current_thread() is not threading.main_thread():  # only that one receives signals
        yield stop
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
