"""Where text may stand: beside the faces, over none of them, nowhere twice. Numbers only, no picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

ABOVE, BELOW, RIGHT, LEFT = range(4)

Box = tuple[float, float, float, float]  # x1, y1, x2, y2
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are outside
Size = tuple[int, int]  # width, height


class Spot(NamedTuple):
    """Where the text of a face stands.

    Attributes:
        rectangle: of the text.
        place: which of the places round the face it is, to give as `before` for the next frame of a video.
        line: x1, y1, x2, y2 of a line from the text to its face; None where they touch.
    """

    rectangle: Rectangle
    place: int
    line: Rectangle | None = None


def arrange(
    faces: Sequence[Box],
    sizes: Sequence[Size | None],
    canvas: Size,
    gap: int = 0,
    reach: float = math.inf,
    beside: bool = False,
    before: Sequence[int | None] = (),
    taken: Sequence[Rectangle] = (),
) -> list[Spot | None]:
    """Find a place for the text of each face.

    No text meets the box of any face, be it its own, or another text, and all lie within the canvas. Where boxes
    overlap, text stands outside of all of them. Faces with few free places come first, then the first.

    Args:
        faces: x1, y1, x2, y2 of each, pixels; they may overlap and reach past the canvas.
        sizes: of each face's text, None where there is none.
        canvas: its size.
        gap: least distance between a text and anything else, pixels.
        reach: greatest distance between a text and its face where none of the places at the face is free. Between them
            there may be other text, and faces that overlap this one, but no other face.
        beside: whether the right and the left of a face come before what is above and below it. Of these two the side
            away from the other faces comes first, for a single face the one with more room.
        before: `Spot.place` of each face in the frame before, None where it is new: it is kept where that is possible.
        taken: further places where no text may stand.

    Returns:
        The spot of each face; None where there is none.
    """
    boxes = [_visible(face, canvas) for face in faces]
    old = [*before, *[None] * (len(boxes) - len(before))]
    middles = [(left + right) / 2 for left, _, right, _ in boxes]
    centre = sum(middles) / max(len(boxes), 1)
    sides: list[tuple[int, ...]] = []
    for middle in middles:
        right = middle >= centre if len(boxes) > 1 else middle <= canvas[0] / 2
        across = (RIGHT, LEFT) if right else (LEFT, RIGHT)
        sides.append((*across, BELOW, ABOVE) if beside else (ABOVE, BELOW, *across))
    wanted = {number: size for number, size in enumerate(sizes) if size is not None}
    windows = [_window(boxes[number], size, gap) for number, size in wanted.items()]
    near = dict(zip(wanted, _meetings(windows, boxes), strict=True))  # what a text at the face could meet
    free = {}  # how many places at the face meet no face
    for number, size in wanted.items():
        corners = _corners(boxes[number], size, canvas, gap, sides[number])
        free[number] = sum(_obstacle(rectangle, near[number], gap) is None for _, rectangle in corners)
    spots: list[Spot | None] = [None] * len(boxes)
    texts = [*taken]
    for number in sorted(free, key=lambda number: free[number]):
        box, size = boxes[number], wanted[number]
        window = _window(box, size, gap)
        obstacles = [*near[number], *(text for text in texts if _meet(window, text))]
        spot = _at(box, size, canvas, gap, sides[number], obstacles, old[number])
        if spot is None and reach > gap:
            spot = _away(box, size, canvas, gap, sides[number], boxes, texts, reach)
        spots[number] = spot
        if spot is not None:
            texts.append(spot.rectangle)
    return spots


def legend(sizes: Sequence[Size], picture: Size, gap: int = 0) -> tuple[list[Rectangle], Size]:
    """Places for texts that stand below a picture or right of it, whichever makes the canvas's sides shorter in sum.

    Args:
        sizes: of the texts, at least one.
        picture: its size; it keeps the upper left corner of the canvas.
        gap: least distance between a text and anything else, pixels.

    Returns:
        Where each text stands, the first ones at the upper left, and the size of the canvas.
    """
    width, height = (max(lengths) + gap for lengths in zip(*sizes, strict=True))
    columns = max(1, min(len(sizes), (picture[0] - gap) // width))
    rows = math.ceil(len(sizes) / columns)
    below = (max(picture[0], columns * width + gap), picture[1] + rows * height + gap)
    lines = max(1, min(len(sizes), (picture[1] - gap) // height))
    right = (picture[0] + math.ceil(len(sizes) / lines) * width + gap, max(picture[1], lines * height + gap))
    rectangles = []
    for number, size in enumerate(sizes):
        if sum(below) <= sum(right):
            canvas, left, top = below, number % columns * width, picture[1] + number // columns * height
        else:
            canvas, left, top = right, picture[0] + number // lines * width, number % lines * height
        rectangles.append((left + gap, top + gap, left + gap + size[0], top + gap + size[1]))
    return rectangles, canvas


def _visible(face: Box, canvas: Size) -> Rectangle:
    """The part of a face's box on the canvas, in whole pixels; for one beside the canvas, the edge next to it."""
    x1, y1, x2, y2 = face
    left, right = (min(max(x, 0), canvas[0]) for x in (math.floor(x1), math.ceil(x2)))
    top, bottom = (min(max(y, 0), canvas[1]) for y in (math.floor(y1), math.ceil(y2)))
    return left, top, right, bottom


def _at(
    box: Rectangle,
    size: Size,
    canvas: Size,
    gap: int,
    sides: Sequence[int],
    obstacles: Sequence[Rectangle],
    before: int | None,
) -> Spot | None:
    """The first free place at a face: the one of the frame before, a corner of the box, somewhere along its sides."""
    corners = list(_corners(box, size, canvas, gap, sides))
    if before is not None:
        corners.sort(key=lambda corner: corner[0] != before)
    for place, rectangle in corners:
        if _obstacle(rectangle, obstacles, gap) is None:
            return Spot(rectangle, place)
    (left, top, right, bottom), (width, height) = box, size
    for side in sides:
        # the text's middle moves from one end of the side to the other
        if side in (ABOVE, BELOW):
            x, y = max(left - width // 2, 0), (top - gap - height if side == ABOVE else bottom + gap)
            ends, direction = (min(right + width // 2, canvas[0]), canvas[1]), RIGHT
        else:
            x, y = (right + gap if side == RIGHT else left - gap - width), max(top - height // 2, 0)
            ends, direction = (canvas[0], min(bottom + height // 2, canvas[1])), BELOW
        moved = _pushed((x, y, x + width, y + height), direction, obstacles, gap, ends)
        if moved is not None:
            return Spot(moved, 3 * side + 2)
    return None


def _away(
    box: Rectangle,
    size: Size,
    canvas: Size,
    gap: int,
    sides: Sequence[int],
    boxes: Sequence[Rectangle],
    taken: Sequence[Rectangle],
    reach: float,
) -> Spot | None:
    """The nearest free place straight out from a face."""
    found: list[tuple[int, Spot]] = []
    window = _window(box, size, gap + math.ceil(min(reach, max(canvas))))
    near = [other for other in boxes if _meet(window, other)]
    obstacles = [*near, *(other for other in taken if _meet(window, other))]
    apart = [other for other in near if other != box and not _meet(box, other)]
    for place, rectangle in _corners(box, size, canvas, gap, sides):
        side = place // 3
        moved = _pushed(rectangle, side, obstacles, gap, canvas)
        if moved is not None:
            distance = abs(moved[0] - rectangle[0]) + abs(moved[1] - rectangle[1]) + gap
            x1, y1, x2, y2 = line = _line(moved, box, side)
            along = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
            if distance <= reach and _obstacle(along, apart, 1) is None:
                found.append((distance, Spot(moved, place, line)))
    return min(found, key=lambda item: item[0])[1] if found else None


def _corners(
    box: Rectangle, size: Size, canvas: Size, gap: int, sides: Sequence[int]
) -> Iterator[tuple[int, Rectangle]]:
    """The places at the corners of a box that lie within the canvas, the best first."""
    (left, top, right, bottom), (width, height) = box, size
    if width > canvas[0] or height > canvas[1]:
        return
    for side, end in product(sides, (0, 1)):
        if side in (ABOVE, BELOW):
            x = min(max(right - width if end else left, 0), canvas[0] - width)
            y = top - gap - height if side == ABOVE else bottom + gap
        else:
            x = right + gap if side == RIGHT else left - gap - width
            y = min(max(bottom - height if end else top, 0), canvas[1] - height)
        if x >= 0 and y >= 0 and x + width <= canvas[0] and y + height <= canvas[1]:
            yield 3 * side + end, (x, y, x + width, y + height)


def _pushed(
    rectangle: Rectangle,
    direction: int,
    obstacles: Sequence[Rectangle],
    gap: int,
    ends: Size,
) -> Rectangle | None:
    """A rectangle moved in a direction until it is free; None where it leaves the canvas first."""
    left, top, right, bottom = rectangle
    width, height = right - left, bottom - top
    while left >= 0 and top >= 0 and left + width <= ends[0] and top + height <= ends[1]:
        here = (left, top, left + width, top + height)
        obstacle = _obstacle(here, obstacles, gap)
        if obstacle is None:
            return here
        if direction == ABOVE:
            top = obstacle[1] - gap - height
        elif direction == BELOW:
            top = obstacle[3] + gap
        elif direction == RIGHT:
            left = obstacle[2] + gap
        else:
            left = obstacle[0] - gap - width
    return None


def _line(text: Rectangle, box: Rectangle, side: int) -> Rectangle:
    """From the text straight to the face on whose `side` it stands."""
    x = (max(text[0], box[0]) + min(text[2], box[2])) // 2
    y = (max(text[1], box[1]) + min(text[3], box[3])) // 2
    if side == ABOVE:
        return x, text[3], x, box[1]
    if side == BELOW:
        return x, text[1], x, box[3]
    return (text[0], y, box[2], y) if side == RIGHT else (text[2], y, box[0], y)


def _obstacle(rectangle: Rectangle, others: Sequence[Rectangle], gap: int) -> Rectangle | None:
    """The first of the others that is nearer than `gap`."""
    left, top, right, bottom = rectangle[0] - gap, rectangle[1] - gap, rectangle[2] + gap, rectangle[3] + gap
    for other in others:
        if left < other[2] and other[0] < right and top < other[3] and other[1] < bottom:
            return other
    return None


def _meet(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _meetings(ones: Sequence[Rectangle], others: Sequence[Rectangle]) -> list[list[Rectangle]]:
    """For each of the first rectangles those of the second that meet it."""
    one, other = np.array(ones).reshape(-1, 1, 4), np.array(others).reshape(1, -1, 4)
    meet = (one[..., :2] < other[..., 2:]) & (other[..., :2] < one[..., 2:])
    return [[others[number] for number in row.nonzero()[0].tolist()] for row in meet[..., 0] & meet[..., 1]]


def _window(box: Rectangle, size: Size, gap: int) -> Rectangle:
    """All that a text of this size can touch while it stands at a box."""
    width, height = size[0] + 2 * gap, size[1] + 2 * gap
    return box[0] - width, box[1] - height, box[2] + width, box[3] + height
