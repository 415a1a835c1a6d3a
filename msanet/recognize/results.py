"""The results of many pictures in a folder: results.jsonl and the annotated copies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from msanet.errors import InputError
from msanet.images import write
from msanet.recognize.recognizer import Recognition


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
