"""Many pictures: several at a time, in their order, in flat memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar, overload

from msanet.errors import InputError
from msanet.images import Source
from msanet.recognize.recognizer import Found, Recognition, Recognizer
from msanet.runtime import available_threads

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

FACES = 16
"""Faces of several pictures that go through the network together; more save no time on a processor."""

PIXELS = 12_000_000
"""Pixels of the pictures that wait for it together: one picture of a telephone, or many small ones."""


def share_threads(pictures: int, workers: int | None = None, threads: int | None = None) -> tuple[int, int]:
    """Workers, and threads of each, for so many pictures; together they have `threads`, or all processors.

    Raises:
        InputError: `workers` or `threads` is under 1.
    """
    for name, number in (("workers", workers), ("threads", threads)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}: give 1 or more, or none for all processors")
    threads = threads or available_threads()
    workers = workers or max(1, min(threads, pictures))
    return workers, max(1, threads // workers)


@overload
def recognize_many(
    recognizer: Recognizer, sources: Iterable[Source], workers: int | None = None, explain: bool = False
) -> Generator[Recognition | InputError, None, None]: ...
@overload
def recognize_many(
    recognizer: Recognizer,
    sources: Iterable[Source],
    workers: int | None = None,
    explain: bool = False,
    *,
    each: Callable[[Recognition], Outcome],
) -> Generator[Outcome | InputError, None, None]: ...
def recognize_many(
    recognizer: Recognizer,
    sources: Iterable[Source],
    workers: int | None = None,
    explain: bool = False,
    *,
    each: Callable[[Recognition], Any] = lambda recognition: recognition,
) -> Generator[Any, None, None]:
    """Recognize any number of pictures, several at a time, in flat memory.

    The workers are threads: decoding, detection and the network all run outside Python's lock. Give the recognizer
    one thread (`Recognizer(threads=1)`), since the workers fill the processors.

    Args:
        recognizer: finds the faces and names their expressions.
        sources: paths, bytes, PIL images or arrays; may be an endless generator.
        workers: pictures worked on at once; None: as many as there are processors, eight at most.
        explain: give each face its evidence and attention maps too.
        each: what the workers do with a `Recognition` at the end, such as `Recognition.to_dict`. The result takes its
            place; where that does not hold the picture, its memory is free.

    Yields:
        For each source, in their order, a `Recognition` (or what `each` made of it), or the `InputError` that says why
        there is none.

    Raises:
        InputError: `workers` is under 1.
    """
    number, _ = share_threads(available_threads(), workers)

    def find(source: Source) -> Found | InputError:
        try:
            return recognizer.find(source)
        except InputError as error:
            return error

    def finish(recognition: Recognition) -> Any:
        try:
            return each(recognition)
        except InputError as error:
            return error

    def name(batch: list[Found | InputError]) -> list[Any]:
        named = iter(recognizer.classify_found([item for item in batch if isinstance(item, Found)], explain))
        return [item if isinstance(item, InputError) else finish(next(named)) for item in batch]

    def stream() -> Generator[Any, None, None]:
        pool = ThreadPoolExecutor(number)
        try:
            found = in_order(pool, find, sources, number)
            for results in in_order(pool, name, _batches(found), number):
                yield from results
        finally:  # also where the caller stops early
            pool.shutdown(cancel_futures=True)

    return stream()


def in_order(
    pool: Executor, function: Callable[[Item], Outcome], items: Iterable[Item], number: int
) -> Iterator[Outcome]:
    """The function's result for each item, in their order; at most `number` of them are in the pool or ready."""
    waiting: deque[Future[Outcome]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) == number:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(found: Iterable[Found | InputError]) -> Iterator[list[Found | InputError]]:
    """Pictures one after the other, together until they have `FACES` faces or `PIXELS` pixels."""
    batch: list[Found | InputError] = []
    faces = pixels = 0
    for item in found:
        batch.append(item)
        if isinstance(item, Found):
            faces += len(item.crops)
            pixels += 0 if item.picture is None else item.picture.shape[0] * item.picture.shape[1]
        if faces >= FACES or pixels >= PIXELS:
            yield batch
            batch, faces, pixels = [], 0, 0
    if batch:
        yield batch
