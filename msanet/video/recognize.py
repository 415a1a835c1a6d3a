"""Frames -> moments: faces found, followed and named, each stage in a thread of its own.

The libraries below release Python's lock, so decoding, detection, classification and encoding run a few frames apart.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from itertools import islice
from typing import TypeVar

from msanet.faces.crops import crop
from msanet.faces.face import Face
from msanet.recognize.batch import in_order
from msanet.recognize.recognizer import Found, Recognizer
from msanet.runtime import usable_threads
from msanet.video.frames import Frame, Moment
from msanet.video.tracks import Follower, Following, Sighting, Smoother

Item = TypeVar("Item")

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
        frames: such as a `VideoReader`; they are taken in a thread of their own.
        recognizer: names the expressions, best with `threads=1`; its detector is not used.
        following: how people are followed.
        workers: threads that name expressions; None: as many as there are processors, eight at most.

    Yields:
        A `Moment` for each frame, in order.

    Raises:
        InputError: `workers` is out of its range.
    """
    count = usable_threads(workers)
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
            found.append(Found(sighting.boxes, sighting.scores, sighting.landmarks, crops))
    named = iter(recognizer.faces_of(found))
    return [next(named) if sighting.numbers else () for _, sighting in batch]


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
