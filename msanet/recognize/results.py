"""The results of many pictures and videos in a folder: results.jsonl and the annotated copies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from msanet.errors import InputError
from msanet.files import ANNOTATED, file_name, locked, replacing, to_json, valid
from msanet.images import write
from msanet.recognize.recognizer import Recognition, Recognizer


class Results:
    """results.jsonl in a folder: one line of JSON for each picture or video, on disk as soon as it is added.

    A line is the result with what it comes from: `model` and `settings`, and `file`, the picture's address, size and
    time of change. So a picture is done again when it was changed, or had an error, and nothing else is; from wherever
    the command is run. A run that is killed leaves whole lines and at worst the beginning of one more, which `resume`
    cuts off. One process at a time has the folder.

    Args:
        folder: made if it is missing.
        sources: paths of all pictures and videos of this run.
        origin: `model` and `settings`, see `origin_of`.
        resume: go on with the lines that are there; without it there must be none.

    Attributes:
        path: of the file.
        todo: the sources that have no result yet.
        annotated: paths of the copies that belong to results which stay.

    Raises:
        InputError: there are results already, or they come from another model or other settings, a line is no result,
            the folder or the file cannot be written, or another process has it.
    """

    def __init__(self, folder: Path, sources: Collection[str], origin: Mapping[str, Any], resume: bool = False) -> None:
        self.path = folder / "results.jsonl"
        self.todo = list(sources)
        self.annotated: list[str] = []
        self._origin = json.loads(to_json(origin))
        self._begun: dict[str, dict[str, Any]] = {}
        with ExitStack() as stack:
            stack.enter_context(locked(folder))
            try:
                if resume and self.path.exists():
                    self._go_on()
                elif kept := [path for path in (self.path, self.path.with_suffix(".csv")) if _size(path)]:
                    raise InputError(
                        f"{kept[0]} holds results of an earlier run: go on with --resume, or choose another --output"
                    )
                self._file: IO[bytes] = stack.enter_context(self.path.open("ab", buffering=0))
                self._end = _size(self.path)
            except OSError as error:
                raise self._unwritable(error) from None
            self._stack = stack.pop_all()

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def begin(self, sources: Iterable[str]) -> Iterator[str]:
        """The same sources; of each is noted which file it is and of when, before it is read."""
        for source in sources:
            self._begun[source] = identify(source)
            yield source

    def add(self, result: Mapping[str, Any]) -> None:
        """Append a result as `Recognition.to_dict` gives it, of a source that has begun.

        Raises:
            InputError: the file cannot be written; the results before it are kept.
        """
        source = result["source"]
        line = {"source": source, "file": self._begun.pop(source), **self._origin, **result}
        data = memoryview((to_json(line) + "\n").encode())
        try:
            written = 0
            while written < len(data):  # a disk that is nearly full takes a part
                written += self._file.write(data[written:])
        except OSError as error:
            with suppress(OSError):  # what is no file has no end
                self._file.truncate(self._end)
            raise self._unwritable(error) from None
        self._end += len(data)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All results of the file, those of earlier runs included."""
        with self.path.open("rb") as file:
            for line in file:
                yield json.loads(line)

    def _go_on(self) -> None:
        """Find what is left to do; take the lines out of the file that are to be done again, and half a line."""
        done: dict[str, tuple[int, int] | None] = {}
        copies: dict[str, str] = {}
        size = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                size += len(line)
                uri, version, result = self._parse(number, line)
                done[uri] = None if "error" in result else version
                if "annotated" in result:
                    copies[uri] = result["annotated"]
        os.truncate(self.path, size)
        left, again = [], set()
        for source in self.todo:
            file = identify(source)
            if done.get(file["uri"]) != _version(file):
                again.add(file["uri"])
                left.append(source)
        self.todo = left
        again &= done.keys()
        self.annotated = [path for uri, path in copies.items() if uri not in again]
        if again:
            with replacing(self.path) as temporary, self.path.open("rb") as lines, temporary.open("wb") as kept:
                kept.writelines(line for line in lines if json.loads(line)["file"]["uri"] not in again)

    def _parse(self, number: int, line: bytes) -> tuple[str, tuple[int, int], dict[str, Any]]:
        """A line of the file, checked: its picture's uri and version, and all of it."""
        try:
            result = json.loads(line)
            theirs = {"model": result["model"], **result["settings"]}
            uri, version = str(result["file"]["uri"]), _version(result["file"])
        except (ValueError, KeyError, TypeError):
            raise InputError(f"line {number} of {self.path} is no result: choose another --output") from None
        ours = {"model": self._origin["model"], **self._origin["settings"]}
        for name in {**ours, **theirs}:
            if theirs.get(name) != ours.get(name):
                raise InputError(
                    f"{self.path} was made with {name} {theirs.get(name)}, not {ours.get(name)}: "
                    "choose the same again, or another --output"
                )
        return uri, version, result

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self.path} cannot be written ({error.strerror}): make room or choose another --output")


def origin_of(recognizer: Recognizer, **settings: Any) -> dict[str, Any]:
    """What results come from: the model's name; and the settings, with the beginning of its file's SHA-256."""
    weights = hashlib.sha256(Path(recognizer.classifier.name).read_bytes()).hexdigest()[:16]
    return {"model": recognizer.metadata.name, "settings": {"weights": weights, **settings}}


def identify(source: str) -> dict[str, Any]:
    """Which file it is, from wherever the command is run, and which version of it: uri, bytes, modified (nanoseconds);
    0 and 0 where there is none."""
    folder, name = os.path.split(os.path.abspath(source))
    uri = Path(_real(folder), name).as_uri()  # which writes any bytes in ASCII
    try:
        status = os.stat(source)
    except OSError:  # who reads it says what is wrong
        return {"uri": uri, "bytes": 0, "modified": 0}
    return {"uri": uri, "bytes": status.st_size, "modified": status.st_mtime_ns}


@lru_cache(maxsize=256)
def _real(folder: str) -> str:
    """The folder without links on the way, so that it has one name."""
    return os.path.realpath(folder)


def _version(file: Mapping[str, Any]) -> tuple[int, int]:
    return file["bytes"], file["modified"]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def copies(folder: Path, pictures: Mapping[str, str], taken: Iterable[str] = ()) -> dict[str, Path]:
    """Where the annotated copy of each picture goes: nowhere twice, and never an input's own place.

    Args:
        folder: of the copies.
        pictures: path of each picture -> its path below that folder.
        taken: paths of copies that stay.
    """

    def key(path: str | Path) -> str:
        return valid(os.path.realpath(path)).casefold()  # some file systems do not tell A from a

    used = {key(path) for path in (*pictures, *taken)}
    targets = {}
    for source, name in pictures.items():
        *parents, name = Path(name).parts
        stem, ending = os.path.splitext(name)
        ending = ".jpg" if ending.lower() in (".jpg", ".jpeg", ".jfif") else ".png"
        place = folder.joinpath(*map(file_name, parents))
        target, number = place / f"{file_name(stem)}{ANNOTATED}{ending}", 1
        while key(target) in used:
            number += 1
            target = place / f"{file_name(stem)}-{number}{ANNOTATED}{ending}"
        used.add(key(target))
        targets[source] = target
    return targets


def write_copy(recognition: Recognition, path: Path) -> str:
    """Write the picture with its faces drawn on it, and its folder where that is missing; the absolute path.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another --output") from None
    write(path, recognition.draw())
    return os.path.abspath(path)
