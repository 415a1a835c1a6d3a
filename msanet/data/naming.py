"""What people call their folders, rows and columns -> labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from msanet.errors import InputError
from msanet.labels import EXPRESSIONS, check_label, check_labels, in_order

EXPRESSION_NAMES = {name: name for name in EXPRESSIONS} | {
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "disgusted": "disgust",
    "angry": "anger",
    "contemptuous": "contempt",
}
"""What an expression may be called, in any case -> the expression. CK+, FER2013 and others use the adjectives."""


def labels_by_name(names: Iterable[str], place: object) -> dict[str, str]:
    """Name -> label: the expressions where all are names of expressions, else the names as they stand.

    Args:
        names: all that a data set uses, in all of its splits.
        place: where they stand, for the message.

    Raises:
        InputError: a name cannot be a label, two differ only by case, or there is but one, which is no expression.
    """
    names = sorted(set(names))
    if all(name.lower() in EXPRESSION_NAMES for name in names):
        return {name: EXPRESSION_NAMES[name.lower()] for name in names}
    seen: dict[str, str] = {}
    try:
        # One form of each letter: file systems differ in how they write accents.
        found = {name: unicodedata.normalize("NFC", check_label(name)) for name in names}
        check_labels(in_order(list(found.values())))
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    for name, label in found.items():
        other = seen.setdefault(label.casefold(), name)
        if other != name:
            raise InputError(f"{place}: {other!r} and {name!r} differ only by case: give them one name")
    return found
