"""Many pictures: several at a time, in their order, in flat memory."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar, overload

from msanet.errors import InputError
from msanet.images import Source, name_of, turn
from msanet.recognize.recognizer import Found, Recognition, Recognizer
from msanet.runtime import available_threads, usable_threads

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

FACES = 16
"""Faces of several pictures that go through the network together; more save no time on a processor."""

PIXELS = 12_000_000
"""Pixels of the pictures that wait for it together: one picture of a telephone, or many small ones."""


class UnexpectedError(Exception):
    """What nobody foresaw happened to one picture; it ends no other. Its text is a sentence.

    Attributes:
        source: the picture's path, or what else it came from.
        details: the traceback.
    """

    def __init__(self, source: str, error: Exception) -> None:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        super().__init__(f"{source} failed unexpectedly ({reason}): please report it, with its traceback")
        self.source = source
        # as text: the error itself would hold the pictures that it met on its way
        self.details = "".join(traceback.format_exception(error))

    def to_dict(self) -> dict[str, str]:
        """For JSON: source, and error, which is the traceback."""
        return {"source": self.source, "error": self.details}


def share_threads(pictures: int, workers: int | None = None, threads: int | None = None) -> tuple[int, int]:
    """Workers, and threads of each, for so many pictures; together they have `usable_threads(threads)`.

    Raises:
        InputError: `workers` or `threads` is out of its range.
    """
    threads = usable_threads(threads)
    if workers is None:
        workers = max(1, min(threads, pictures))
    else:
        usable_threads(workers, "workers")  # more than there are processors may wait for slow disks
    return workers, max(1, threads // workers)


Failure = InputError | UnexpectedError


@overload
def recognize_many(
    recognizer: Recognizer, sources: Iterable[Source], workers: int | None = None, explain: bool = False
) -> Generator[Recognition | InputError | UnexpectedError, None, None]: ...
@overload
def recognize_many(
    recognizer: Recognizer,
    sources: Iterable[Source],
    workers: int | None = None,
    explain: bool = False,
    *,
    each: Callable[[Recognition], Outcome],
) -> Generator[Outcome | InputError | UnexpectedError, None, None]: ...
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
        there is none, or an `UnexpectedError`: no single picture ends the rest.

    Raises:
        InputError: `workers` is out of its range.
    """
    number, _ = share_threads(available_threads(), workers)

    def find(source: Source) -> Any:
        """The faces of a picture; or already what is given for it, where it is large or a failure."""
        with turn() as taken:
            try:
                found = recognizer.find(source)
            except InputError as error:
                return error
            except Exception as error:
                return UnexpectedError(name_of(source), error)
            return name([found])[0] if taken() else found  # before another of its size is read

    def name(batch: list[Found | Failure]) -> list[Any]:
        found = [item for item in batch if isinstance(item, Found)]
        try:
            named = iter([finish(recognition) for recognition in recognizer.classify_found(found, explain)])
        except InputError:  # of the model, not of a picture
            raise
        except Exception as error:
            if len(found) > 1:  # one of them is to blame
                return [outcome for item in batch for outcome in name([item])]
            named = iter([UnexpectedError(item.source, error) for item in found])
        return [next(named) if isinstance(item, Found) else item for item in batch]

    def finish(recognition: Recognition) -> Any:
        try:
            return each(recognition)
        except InputError as error:
            return error
        except Exception as error:
            return UnexpectedError(recognition.source, error)

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


def _batches(found: Iterable[Found | Failure]) -> Iterator[list[Found | Failure]]:
    """Pictures one after the other, together until they have `FACES` faces or `PIXELS` pixels."""
    batch: list[Found | Failure] = []
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
