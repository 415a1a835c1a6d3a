"""Faces on their picture: boxes, labels, probability bars."""

from __future__ import annotations

import colorsys
import math
import zlib
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from msanet.drawing.evidence import TILE, extent, lay_over, reasons, share, stack
from msanet.drawing.layout import Box, Rectangle, Size, Spot, arrange, legend
from msanet.drawing.text import DARK, LIGHT, ink, line_height, pad, shown, tag, tag_width, width
from msanet.faces.face import Face

LEAST_SIDE = 480
"""Smaller pictures are enlarged to this long side, pixels, before they are drawn on: text needs the room."""

TRACK = (75, 75, 75)
"""RGB of the part of a bar's length that its probability leaves."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "neutral": (200, 200, 200),
    "happiness": (255, 200, 40),
    "sadness": (90, 150, 255),
    "surprise": (255, 140, 30),
    "fear": (190, 120, 255),
    "disgust": (120, 200, 80),
    "anger": (255, 85, 75),
    "contempt": (60, 200, 190),
}
"""RGB of each expression; see `colour_of` for other labels."""

EXPLAINED = 8
"""Most faces, the largest ones, whose reasons stand below their picture."""

ROWS = 10
"""Most probabilities that stand beside a face, the highest ones."""

BAR = 7
"""Length of a bar that stands for probability 1, in letter sizes."""

LEAST_LETTERS = 11
"""Least size of letters, pixels."""

NUMBER, LABEL, ENTRY, BARS = range(4)

SHRINK = (1.0, 0.8, 0.64)
"""Sizes of text, as parts of the best one, that are tried before faces are numbered."""

WAYS = (*((BARS, part) for part in SHRINK), (LABEL, 1.0), (LABEL, 0.8), (NUMBER, 1.0), (NUMBER, 0.8))
"""What is written of the people in a video, and in which part of the best size: the first that finds room."""

LARGEST_PAGE = 1.5
"""Area of a picture with text beside it, as a multiple of the picture's, above which smaller text is tried."""

NUMBERED = 0.1
"""Share of faces without room for their label above which all faces are numbered."""


@lru_cache(maxsize=1024)
def colour_of(label: str) -> tuple[int, int, int]:
    """RGB of a label: light enough for dark letters, and the same in every picture."""
    if label in COLOURS:
        return COLOURS[label]
    value = zlib.crc32(label.encode("utf-8", "surrogatepass"))
    red, green, blue = colorsys.hls_to_rgb(value % 360 / 360, 0.6 + value // 360 % 3 * 0.08, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(
    picture: np.ndarray,
    faces: Sequence[Face],
    bars: bool | None = None,
    spots: MutableMapping[int, tuple[int, int]] | None = None,
) -> np.ndarray:
    """Draw what is known of the faces on a copy of their picture.

    Each face has its label, with bars also its probabilities, where no face and no other text is. Where there is no
    such place, the faces are numbered (1 is the first) and the text stands below or right of the picture. A face whose
    number has no place either, since other faces are all round it, has a small picture beside its text.

    Faces with the number of a person are those of a video, whose frames must be of one size: what finds no place is
    left out there, first the bars, then the expression's name, then the person's number; the colours remain.

    Args:
        picture: RGB uint8 [H, W, 3].
        faces: the faces found in it. Those with evidence get it laid over them, and `reasons` below the picture.
        bars: whether each face's probabilities stand beside it; None: where there are one or two faces.
        spots: of a video: an empty dictionary at its first frame, and the same one at each further frame. It holds
            where each person's text stands, so that it stays there where it can.

    Returns:
        RGB uint8 [h, w, 3] with the picture at its upper left: [H, W, 3], or larger by one factor where the picture's
        long side is under `LEAST_SIDE`; with text or reasons beside the picture larger than that, and with reasons at
        least three tiles wide.
    """
    import cv2

    factor = max(LEAST_SIDE / max(picture.shape[:2]), 1.0)
    if factor > 1:
        canvas = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    else:
        canvas = picture.copy()
    for face in faces:
        if face.evidence is not None:
            canvas = lay_over(
                canvas, face.evidence[face.expression], face.corners * factor, extent(face.evidence.values())
            )
    explained = [number for number, face in enumerate(faces[:EXPLAINED], 1) if face.evidence is not None]
    numbered = bool(explained) and len(faces) > 1
    if faces:
        boxes = [(x1 * factor, y1 * factor, x2 * factor, y2 * factor) for x1, y1, x2, y2 in (f.box for f in faces)]
        _outline(canvas, faces, boxes)
        bars = len(faces) <= 2 if bars is None else bars
        if any(face.track is not None for face in faces):
            _annotate_frame(canvas, faces, boxes, bars, {} if spots is None else spots)
        else:
            canvas = _annotate_picture(canvas, faces, boxes, bars, numbered)
    if not explained:
        return canvas
    room = max(canvas.shape[1], 3 * TILE)
    across = min(max(room // (5 * TILE), 1), len(explained))  # faces in a row
    below = [reasons(picture, faces[number - 1], room // across, number if numbered else None) for number in explained]
    return stack([canvas, *(np.hstack(below[start : start + across]) for start in range(0, len(below), across))])


def _outline(canvas: np.ndarray, faces: Sequence[Face], boxes: Sequence[Box]) -> None:
    """The faces' boxes in the colours of their expressions, the largest, which come first, on top."""
    import cv2

    for face, box in zip(reversed(faces), reversed(boxes), strict=True):
        thickness = max(1, min(_stroke(canvas), round(_diagonal(box) / 60)))
        corners = (math.floor(box[0]), math.floor(box[1])), (math.ceil(box[2]) - 1, math.ceil(box[3]) - 1)
        cv2.rectangle(canvas, *corners, colour_of(face.expression), thickness)


def _annotate_picture(
    canvas: np.ndarray, faces: Sequence[Face], boxes: Sequence[Box], bars: bool, numbered: bool
) -> np.ndarray:
    """Write on a picture what is known of its faces; a larger picture where text stands beside it."""
    base, gap, limits = _base(canvas), _gap(canvas), (canvas.shape[1], canvas.shape[0])
    for part in SHRINK[:2] if bars else SHRINK:  # beside the picture bars are read better than small ones between faces
        notes = []
        for number, (face, box) in enumerate(zip(faces, boxes, strict=True), 1):
            wanted = _diagonal(box) / (11 if bars else 8)  # a face's bars are about as high as the face
            size = _size(wanted, max(base / 60, 16), max(base / 36, 16), part)
            notes.append(_Note(face, number if numbered else None, size, BARS if bars else LABEL))
        sizes = [note.extent for note in notes]
        spots = arrange(boxes, sizes, limits, gap, max(height for _, height in sizes), beside=bars)
        if None not in spots:
            break
    if spots.count(None) > NUMBERED * len(faces):
        spots = [None] * len(faces)
    _write(canvas, notes, spots)
    outside = [number for number, spot in enumerate(spots) if spot is None]
    if not outside:
        return canvas

    named = len(faces) > 1
    # a face whose number has no place either is known by its picture
    shown_as = {number: _seen(canvas, boxes[number]) for number in outside} if named else {}
    if named:
        taken = [spot.rectangle for spot in spots if spot is not None]
        for number in _number(canvas, faces, boxes, outside, taken):
            del shown_as[number]
    size, detail = _size(base / 28), BARS if bars else ENTRY
    while True:
        texts = [
            _Note(faces[number], number + 1 if named else None, size, detail, shown_as.get(number))
            for number in outside
        ]
        places, extent = legend([text.extent for text in texts], limits, pad(size))
        if size <= _size(base / 110) or math.prod(extent) <= LARGEST_PAGE * math.prod(limits):
            break
        size = _size(0.85 * size)
    page = np.full((extent[1], extent[0], 3), DARK, np.uint8)
    page[: limits[1], : limits[0]] = canvas
    for text, place in zip(texts, places, strict=True):
        text.write(page, *place[:2])
    return page


def _number(
    canvas: np.ndarray,
    faces: Sequence[Face],
    boxes: Sequence[Box],
    chosen: Sequence[int],
    taken: Sequence[Rectangle],
) -> list[int]:
    """Write their numbers, counted from 1, at the chosen faces of a picture; those for which there was a place."""
    base = _base(canvas)
    for part in SHRINK:
        notes = [
            _Note(face, number, _size(_diagonal(box) / 5, base / 100, base / 50, part), NUMBER)
            for number, (face, box) in enumerate(zip(faces, boxes, strict=True), 1)
        ]
        sizes = [note.extent if number in chosen else None for number, note in enumerate(notes)]
        spots = arrange(boxes, sizes, (canvas.shape[1], canvas.shape[0]), _gap(canvas), taken=taken)
        if all(spots[number] is not None for number in chosen):
            break
    _write(canvas, notes, spots)
    return [number for number in chosen if spots[number] is not None]


def _seen(canvas: np.ndarray, box: Box) -> np.ndarray | None:
    """A copy of what is seen of a face; None where nothing is."""
    left, top, right, bottom = (max(math.floor(value), 0) for value in box)
    part = canvas[top:bottom, left:right]
    return part.copy() if part.size else None


def _annotate_frame(
    canvas: np.ndarray,
    faces: Sequence[Face],
    boxes: Sequence[Box],
    bars: bool,
    spots: MutableMapping[int, tuple[int, int]],
) -> None:
    """Write on a frame of a video what is known of its faces, as much of it as finds room."""
    base, gap, limits = _base(canvas), _gap(canvas), (canvas.shape[1], canvas.shape[0])
    people = [face.track or 0 for face in faces]
    notes: list[_Note] = []
    found: list[Spot] = []
    waiting = [*range(len(faces))]
    for way, (detail, part) in enumerate(WAYS):
        if detail == BARS and not bars:
            continue
        size = _size(base / 45, part=part)
        tried = {number: _Note(faces[number], people[number], size, detail) for number in waiting}
        wanted: list[Size | None] = [None] * len(faces)
        before: list[int | None] = [None] * len(faces)
        for number, note in tried.items():
            wanted[number] = note.extent
            last_way, last_place = spots.get(people[number], (way, None))
            if last_way == way:
                before[number] = last_place
            elif last_way > way:  # found no room in the frame before: needs some to spare now, lest it come and go
                wanted[number] = math.ceil(1.15 * note.extent[0]), math.ceil(1.15 * note.extent[1])
        taken = [spot.rectangle for spot in found]
        placed = arrange(boxes, wanted, limits, gap, 2 * line_height(size), detail == BARS, before, taken)
        smaller = way + 1 < len(WAYS) and WAYS[way + 1][0] == detail
        if smaller and any(placed[number] is None for number in waiting):
            continue  # the same size for all
        for number, note in tried.items():
            spot = placed[number]
            if spot is not None:
                waiting.remove(number)
                notes.append(note)
                found.append(spot)
                spots[people[number]] = way, spot.place
    _write(canvas, notes, found)


@dataclass(frozen=True)
class _Note:
    """What is written of a face.

    Attributes:
        face: whose.
        number: what it is called in the picture, if anything.
        size: of the letters, pixels.
        detail: `NUMBER` alone, `LABEL`, `ENTRY` (a label below the picture) or `BARS`.
        picture: of the face, RGB uint8 [h, w, 3], to stand left of it; None: none.
    """

    face: Face
    number: int | None
    size: int
    detail: int
    picture: np.ndarray | None = None

    @property
    def extent(self) -> Size:
        """Width and height, pixels."""
        across, down = self._words_extent
        return (across, down) if self.picture is None else (across + self._side, max(down, self._side))

    @property
    def _side(self) -> int:
        """Of the face's picture, pixels."""
        return 2 * line_height(self.size)

    @property
    def _words_extent(self) -> Size:
        extent = tag_width(self._title, self.size), line_height(self.size)
        if self.detail == ENTRY:
            return extent[0] + tag_width(self._words, self.size), extent[1]
        if self.detail != BARS:
            return extent
        names, small = self._bars
        columns = max(width(name, small) for name in names.values()) + BAR * small + 3 * pad(small)
        return max(extent[0], columns), extent[1] + len(names) * line_height(small) + pad(small)

    def write(self, canvas: np.ndarray, left: int, top: int) -> None:
        """Write it on an RGB picture that holds its extent at that place."""
        import cv2

        if self.picture is not None:
            side = self._side
            small = cv2.resize(self.picture, (side, side), interpolation=cv2.INTER_AREA)
            canvas[top : top + side, left : left + side] = small
            left += side
        across, down = self._words_extent
        part = canvas[top : top + down, left : left + across]
        least = 0 if self.detail == ENTRY else across
        title = tag(self._title, self.size, colour_of(self.face.expression), least=least)
        part[: title.shape[0], : title.shape[1]] = title
        if self.detail == ENTRY:
            part[:, title.shape[1] :] = tag(self._words, self.size, DARK, LIGHT)
        if self.detail == BARS:
            self._write_bars(part[title.shape[0] :])

    def _write_bars(self, part: np.ndarray) -> None:
        """A row for each probability, on a dark ground through which the picture is seen a little."""
        part[:] = (part >> 3) + np.uint8(DARK[0])
        names, small = self._bars
        step, edge = line_height(small), pad(small)
        start = part.shape[1] - BAR * small - edge
        for row, (name, words) in enumerate(names.items()):
            top = row * step + edge // 2
            letters = ink(words, small)
            place = part[top : top + step, edge : edge + letters.shape[1]]
            np.maximum(place, letters[..., None], out=place)
            bar = part[top + step // 4 : top + step - step // 4, start:]
            bar[:, : BAR * small] = TRACK
            bar[:, : round(BAR * small * self.face.probabilities[name])] = colour_of(name)

    @property
    def _title(self) -> str:
        """What stands on the ground of the expression's colour."""
        number = "" if self.number is None else str(self.number)
        return number if self.detail in (NUMBER, ENTRY) else f"{number} {self._words}".lstrip()

    @property
    def _words(self) -> str:
        return share(self.face, self.face.expression)

    @property
    def _bars(self) -> tuple[dict[str, str], int]:
        """The names whose probabilities are shown, as they are written, in the labels' order, and the letters' size."""
        probabilities = self.face.probabilities
        names = {name: shown(name, number) for number, name in enumerate(probabilities, 1)}
        if len(names) > ROWS:
            highest = sorted(names, key=probabilities.__getitem__, reverse=True)[:ROWS]
            names = {name: words for name, words in names.items() if name in highest}
        return names, max(round(0.78 * self.size), LEAST_LETTERS)


def _write(canvas: np.ndarray, notes: Sequence[_Note], spots: Sequence[Spot | None]) -> None:
    """Write notes where they have a place, the lines to their faces below them."""
    import cv2

    placed = [(note, spot) for note, spot in zip(notes, spots, strict=True) if spot is not None]
    for note, spot in placed:
        if spot.line is not None:
            x1, y1, x2, y2 = spot.line
            cv2.line(canvas, (x1, y1), (x2, y2), colour_of(note.face.expression), _stroke(canvas))
    for note, spot in placed:
        note.write(canvas, *spot.rectangle[:2])


def _size(wanted: float, least: float = 0, most: float = math.inf, part: float = 1.0) -> int:
    """Of letters, whole pixels: `part` of what is wanted within limits, but what can be read."""
    return max(round(part * min(max(wanted, least), most)), LEAST_LETTERS)


def _base(canvas: np.ndarray) -> int:
    """What sizes follow: the picture's long side, but of narrow strips only twice the short one."""
    return min(max(canvas.shape[:2]), 2 * min(canvas.shape[:2]))


def _stroke(canvas: np.ndarray) -> int:
    """Thickness of lines, pixels."""
    return max(1, round(_base(canvas) / 320))


def _gap(canvas: np.ndarray) -> int:
    """Between a face and its text, pixels: half of the outline."""
    return (_stroke(canvas) + 1) // 2


def _diagonal(box: Box) -> float:
    return math.hypot(box[2] - box[0], box[3] - box[1])
