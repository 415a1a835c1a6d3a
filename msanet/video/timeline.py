"""What was seen over time: the table of every face in every frame, and a picture of each person's expressions."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np
from PIL import Image, ImageDraw

from msanet.drawing.annotate import colour_of
from msanet.drawing.text import font_of, printable, shown, width
from msanet.errors import InputError
from msanet.faces.crops import crop
from msanet.faces.face import Face
from msanet.files import cell, to_json
from msanet.preprocessing import Framing
from msanet.video.frames import Frame, Moment

KINDS = ("csv", "jsonl", "parquet")
"""Formats of the table, which are also the endings of its file."""

SHARE_BINS = 2048
"""Most steps of time that a timeline tells apart; when the video outgrows them, each two become one."""

HELD = 64
"""Most people whose expressions are held; beyond, those seen shortest are only counted. So memory stays flat."""

SHOWN = 12
"""Most people in the picture, those seen longest."""

_GROUP = 10_000  # rows of Parquet that are written at once
_HOLD = 0.25  # seconds for which the picture draws a person on after the last sighting


def columns(expressions: Sequence[str]) -> list[str]:
    """The table's columns: frame (0 is the first), time in seconds, track, box in pixels, score, expression, and the
    probability of each expression, smoothed along the track."""
    return ["frame", "time", "track", "x1", "y1", "x2", "y2", "score", "expression", *expressions]


class Table:
    """The table, written frame by frame: what was added is kept however the run ends, even if it is killed.

    Only Parquet needs its end: of a run that is killed, or whose disk is full, it cannot be read.

    Args:
        file: a path, or an open text file, which stays open.
        kind: one of `KINDS`.
        expressions: names of the classes.

    Raises:
        InputError: the kind is unknown, needs a library that is not installed, or needs a path.
    """

    def __init__(self, file: str | os.PathLike[str] | TextIO, kind: str, expressions: Sequence[str]) -> None:
        if kind not in KINDS:
            raise InputError(f"{kind!r} is no format of a table: choose one of {', '.join(KINDS)}")
        self._columns = columns(expressions)
        self._kind = kind
        self._rows: list[list[Any]] = []
        self._owned = isinstance(file, (str, os.PathLike))
        self.name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else "the table"
        with writing(self.name):
            if kind == "parquet":
                self._parquet = _parquet(file, expressions)
            elif isinstance(file, (str, os.PathLike)):
                self._file: TextIO = open(file, "w", encoding="utf-8", newline="")  # noqa: SIM115
            else:
                self._file = file
            if kind == "csv":
                self._writer = csv.writer(self._file, lineterminator="\n")
                self._writer.writerow(map(cell, self._columns))

    def add(self, moment: Moment) -> None:
        """Add the faces of a frame.

        Raises:
            InputError: the file cannot be written any more.
        """
        with writing(self.name):
            for face in moment.faces:
                self._add(moment.frame, face)
            if moment.faces and self._kind != "parquet":
                self._file.flush()
            if len(self._rows) >= _GROUP:
                self._write_group()

    def close(self) -> None:
        """Write what is still held.

        Raises:
            InputError: the file cannot be written any more.
        """
        with writing(self.name):
            if self._kind == "parquet":
                self._write_group()
                self._parquet.close()
            elif self._owned:
                self._file.close()
            else:
                self._file.flush()

    def _add(self, frame: Frame, face: Face) -> None:
        values = face.to_dict()
        row = [frame.index, round(frame.time, 4), face.track, *values["box"], values["score"], face.expression]
        row += values["probabilities"].values()
        if self._kind == "csv":
            self._writer.writerow(cell(value) if isinstance(value, str) else value for value in row)
        elif self._kind == "jsonl":
            self._file.write(to_json(dict(zip(self._columns, row, strict=True)), ascii_only=True) + "\n")
        else:
            self._rows.append(row)

    def _write_group(self) -> None:
        import pyarrow as pa

        values = list(zip(*self._rows, strict=True)) or [()] * len(self._columns)
        self._parquet.write_table(pa.table(dict(zip(self._columns, values, strict=True)), self._parquet.schema))
        self._rows = []


def _parquet(file: Any, expressions: Sequence[str]) -> Any:
    """pyarrow's writer. It is in no extra but dev: with 170 MB it would be the largest part of an installation."""
    if not isinstance(file, (str, os.PathLike)):
        raise InputError("Parquet cannot be printed: name a folder with --output, or choose another format")
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise InputError(
            "Parquet needs pyarrow, which is not installed: run pip install pyarrow, or choose csv or jsonl"
        ) from None
    types = {
        "frame": pa.int64(),
        "track": pa.int32(),
        "expression": pa.string(),
        "time": pa.float64(),
    }
    schema = pa.schema([(name, types.get(name, pa.float32())) for name in columns(expressions)])
    return parquet.ParquetWriter(os.fspath(file), schema)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the system refuses on the way becomes one sentence.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        yield
    except BrokenPipeError:  # who reads what is printed has enough
        raise
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): make room or choose another --output; "
            "what was written is kept"
        ) from None


@dataclass(eq=False)
class Person:
    """What a timeline knows of a track.

    Attributes:
        number: of the track.
        first, last: seconds of the first and last sighting.
        frames: number of frames with this face.
        sums: step of time -> float64 [C + 1], sums of the probabilities in it, and of how many frames.
        thumbnail: RGB uint8 [S, S, 3], from about where the face was largest.
    """

    number: int
    first: float
    last: float = 0.0
    frames: int = 0
    sums: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    thumbnail: np.ndarray | None = field(default=None, repr=False)
    thumbnail_side: float = field(default=0.0, repr=False)


class Timeline:
    """Collects each person's expressions over time, in bounded memory.

    Args:
        expressions: names of the classes.

    Attributes:
        people: number of the track -> `Person`, at most `HELD`.
        others: how many more there were, each seen shorter than those.
        end: seconds of the last frame.
    """

    def __init__(self, expressions: Sequence[str]) -> None:
        self.expressions = tuple(expressions)
        self.people: dict[int, Person] = {}
        self.others = 0
        self.end = 0.0
        self._step = 0.01  # seconds

    def add(self, moment: Moment) -> None:
        """Add the faces of a frame."""
        self.end = time = moment.frame.time
        while time >= SHARE_BINS * self._step:
            self._halve()
        for face in moment.faces:
            assert face.track is not None
            person = self.people.setdefault(face.track, Person(face.track, time))
            person.last = time
            person.frames += 1
            values = np.array([*face.probabilities.values(), 1.0])
            place = int(time / self._step)
            person.sums[place] = person.sums[place] + values if place in person.sums else values
            side = face.box[2] - face.box[0]
            if side > 1.2 * person.thumbnail_side:
                person.thumbnail = _thumbnail(moment.frame.picture(), face)
                person.thumbnail_side = side
        if len(self.people) > HELD:
            gone = [person for person in self.people.values() if person.last < time]
            if gone:
                del self.people[min(gone, key=lambda person: person.frames).number]
                self.others += 1

    def shares(self, person: Person) -> dict[str, float]:
        """Mean probability of each expression over a person's frames."""
        total = np.sum(list(person.sums.values()), axis=0)
        return dict(zip(self.expressions, (total[:-1] / total[-1]).tolist(), strict=True))

    def summary(self, source: str) -> list[list[Any]]:
        """A row for each person held: source, number, expression with the largest mean probability, that, first and
        last sighting as texts, number of frames."""
        rows: list[list[Any]] = []
        for person in sorted(self.people.values(), key=lambda person: person.number):
            shares = self.shares(person)
            best = max(shares, key=shares.__getitem__)
            times = clock(person.first), clock(person.last)
            rows.append([source, person.number, best, f"{shares[best]:.0%}", *times, person.frames])
        return rows

    def draw(self, title: str = "") -> np.ndarray:
        """A picture with a row for each person, RGB uint8 [H, 1600, 3]; see `SHOWN`.

        A row is a stack of the expressions' probabilities over time, blank where the person was out of sight.
        """
        shown = sorted(self.people.values(), key=lambda person: -person.frames)[:SHOWN]
        shown.sort(key=lambda person: person.number)
        rest = self.others + len(self.people) - len(shown)
        return _draw(self, shown, rest, title)

    def curve(self, person: Person, times: np.ndarray) -> np.ndarray:
        """A person's probabilities at some times, float [T, C]; NaN where the person was out of sight."""
        places = np.array(sorted(person.sums))
        values = np.stack([person.sums[place] for place in places.tolist()])
        nearest = np.searchsorted(places, times / self._step, side="right") - 1
        elapsed = times - places[nearest.clip(0)] * self._step
        seen = (nearest >= 0) & (elapsed <= max(_HOLD, 1.5 * self._step))
        return np.where(seen[:, None], (values[:, :-1] / values[:, -1:])[nearest.clip(0)], np.nan)

    def _halve(self) -> None:
        """Steps of twice the time."""
        self._step *= 2
        for person in self.people.values():
            halved: dict[int, np.ndarray] = {}
            for place, values in person.sums.items():
                halved[place // 2] = halved.get(place // 2, 0) + values
            person.sums = halved


def _thumbnail(picture: np.ndarray, face: Face) -> np.ndarray:
    cut = crop(picture, np.array(face.box), face.landmarks, Framing(1.35))
    return np.asarray(
        Image.fromarray(cut).resize((_ROW, _ROW), Image.Resampling.BOX if len(cut) > _ROW else Image.Resampling.BICUBIC)
    )


# The picture's measures, pixels
_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _GAP, _BOTTOM = 1600, 300, 40, 70, 96, 22, 110
_INK, _FAINT, _BLANK, _PAPER = (40, 40, 40), (130, 130, 130), (240, 240, 240), (255, 255, 255)


def _draw(timeline: Timeline, people: Sequence[Person], others: int, title: str) -> np.ndarray:
    rows = max(len(people), 1)
    height = _TOP + rows * (_ROW + _GAP) + _BOTTOM
    canvas = Image.new("RGB", (_WIDTH, height), _PAPER)
    pen = ImageDraw.Draw(canvas)
    small, normal = font_of("", 17), font_of("", 20)
    title = printable(title or "Expressions over time")
    pen.text((30, 20), title, _INK, font_of(title, 26))
    names = {name: shown(name, number) for number, name in enumerate(timeline.expressions, 1)}
    end = max(timeline.end, 1e-3)
    plot = _WIDTH - _LEFT - _RIGHT
    for row, person in enumerate(people):
        top = _TOP + row * (_ROW + _GAP)
        if person.thumbnail is not None:
            canvas.paste(Image.fromarray(person.thumbnail), (30, top))
        shares = timeline.shares(person)
        best = max(shares, key=shares.__getitem__)
        words = (
            f"person {person.number}",
            f"{names[best]} {shares[best]:.0%}",
            f"{clock(person.first)} to {clock(person.last)}",
        )
        for line, (text, size, colour) in enumerate(zip(words, (20, 17, 17), (_INK, _INK, _FAINT), strict=True)):
            pen.text((30 + _ROW + 14, top + 8 + 28 * line), text, colour, font_of(text, size))
        band = _band(timeline, person, (np.arange(plot) + 0.5) / plot * end)
        canvas.paste(Image.fromarray(band), (_LEFT, top))
    if not people:
        pen.text((_LEFT, _TOP + 30), "no face was found", _FAINT, normal)
    base = _TOP + rows * (_ROW + _GAP) - _GAP + 8
    step = next(
        value for value in (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 1e9) if end / value <= 12
    )
    for tick in np.arange(0, end + 1e-9, step):
        x = _LEFT + round(float(tick) / end * plot)
        pen.line((x, base, x, base + 8), _FAINT)
        pen.text((x, base + 12), clock(float(tick)), _FAINT, small, anchor="ma")
    left = _LEFT
    for name, text in names.items():
        pen.rectangle((left, height - 44, left + 18, height - 26), colour_of(name))
        pen.text((left + 26, height - 35), text, _INK, font_of(text, 17), anchor="lm")
        left += width(text, 17) + 56
    if others:
        pen.text((30, height - 35), f"and {others} more, seen shorter", _FAINT, small, anchor="lm")
    return np.asarray(canvas)


def _band(timeline: Timeline, person: Person, times: np.ndarray) -> np.ndarray:
    """A person's row, RGB uint8 [_ROW, T, 3]: at each time the expressions' probabilities stacked, the first lowest."""
    curve = timeline.curve(person, times)
    colours = np.array([colour_of(name) for name in timeline.expressions], np.uint8)
    heights = (np.arange(_ROW)[::-1] + 0.5) / _ROW
    stacked = np.cumsum(np.nan_to_num(curve), axis=1)[None, :, :-1]
    band = colours[(stacked <= heights[:, None, None]).sum(axis=2)]
    band[:, np.isnan(curve[:, 0])] = _BLANK
    return band


def clock(seconds: float) -> str:
    """83.4 -> 1:23.4, without tenths from an hour on."""
    minutes, rest = divmod(round(seconds, 1), 60)
    if minutes < 60:
        return f"{int(minutes)}:{rest:04.1f}"
    return f"{int(minutes // 60)}:{int(minutes % 60):02}:{int(rest):02}"
