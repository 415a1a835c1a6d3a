"""Many pictures: several at a time, in their order, in flat memory; and the file of their results."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar, overload

from msanet.errors import InputError
from msanet.images import Source, write
from msanet.recognizer import Found, Recognition, Recognizer
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
        named = iter(recognizer.name([item for item in batch if isinstance(item, Found)], explain))
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


class Results:
    """results.jsonl in a folder: one line of JSON for each picture, on disk as soon as it is added.

    A run that is killed leaves whole lines and at worst the beginning of one more, which `resume` cuts off.

    Args:
        folder: made if it is missing.
        expressions: names of the model's classes.
        resume: keep the lines that are there; without it the file begins anew.

    Attributes:
        path: of the file.
        sources: absolute paths of the pictures whose results are there already, and of their annotated copies.

    Raises:
        InputError: the folder or the file cannot be written, or a line of it is no result.
    """

    def __init__(self, folder: Path, expressions: tuple[str, ...], resume: bool = False) -> None:
        self.path = folder / "results.jsonl"
        self._expressions = expressions
        self.sources: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be made a folder ({error.strerror}): choose another --output") from None
        try:
            if resume and self.path.exists():
                os.truncate(self.path, self._read())
            self._file: IO[bytes] = self.path.open("ab" if resume else "wb", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from None

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, source: str) -> bool:
        return os.path.abspath(source) in self.sources

    def add(self, result: Mapping[str, Any]) -> None:
        """Append a result as `Recognition.to_dict` gives it.

        Raises:
            InputError: the file cannot be written; the results before it are kept.
        """
        try:
            self._file.write((json.dumps(result, ensure_ascii=False) + "\n").encode())
        except OSError as error:
            raise self._unwritable(error) from None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All results of the file, those of earlier runs included."""
        with self.path.open("rb") as file:
            for line in file:
                yield json.loads(line)

    def _read(self) -> int:
        """Learn which sources are there; the number of bytes that are whole lines."""
        size = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    result = json.loads(line)
                    expressions = {tuple(face["probabilities"]) for face in result["faces"]}
                    paths = [result["source"], result.get("annotated", result["source"])]
                    self.sources.update(os.path.abspath(path) for path in paths)
                except (ValueError, KeyError, TypeError):
                    raise InputError(f"line {number} of {self.path} is no result: choose another --output") from None
                if expressions - {self._expressions}:
                    raise InputError(f"{self.path} comes from a model of other expressions: choose another --output")
                size += len(line)
        return size

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self.path} cannot be written ({error.strerror}): make room or choose another --output")


def copies(folder: Path, pictures: Mapping[str, str]) -> dict[str, Path]:
    """Where the annotated copy of each picture goes: nowhere twice, and never an input's own place.

    Args:
        folder: of the copies.
        pictures: path of each picture -> its path below that folder.
    """

    def key(path: str | Path) -> str:
        return os.path.realpath(path).casefold()  # some file systems do not tell A from a

    taken = set(map(key, pictures))
    targets = {}
    for source, name in pictures.items():
        plain = folder / name
        plain = plain.with_suffix(".jpg" if plain.suffix.lower() in (".jpg", ".jpeg") else ".png")
        target, number = plain, 1
        while key(target) in taken:
            number += 1
            target = plain.with_stem(f"{plain.stem}-{number}")
        taken.add(key(target))
        targets[source] = target
    return targets


def write_copy(recognition: Recognition, path: Path) -> str:
    """Write the picture with its faces drawn on it, and its folder where that is missing; the path.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another --output") from None
    write(path, recognition.draw())
    return str(path)


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
            pixels += item.picture.shape[0] * item.picture.shape[1]
        if faces >= FACES or pixels >= PIXELS:
            yield batch
            batch, faces, pixels = [], 0, 0
    if batch:
        yield batch
