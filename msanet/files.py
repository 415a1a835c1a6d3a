"""Files and their names: written whole or not at all, folders listed and locked, and one way out for each place where
a name may go.

A name may hold anything: bytes that are not UTF-8 (Python has them as lone surrogates), line breaks, the escape
sequences of terminals, the beginning of a spreadsheet's formula. Nothing of that reaches a reader as it is.
"""

from __future__ import annotations

import html
import json
import os
import re
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msanet.errors import InputError

ANNOTATED, TIMELINE = ".annotated", ".timeline"
"""What the names of the pictures and videos that we draw end with, before their ending: no `listing` has them."""

# Control characters, line and paragraph separators, marks that turn the direction of writing, lone surrogates.
_BEYOND = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(f"[\x00-\x1f{_BEYOND}]")
_BEYOND_ASCII = re.compile(f"[{_BEYOND}]")  # JSON has its own escapes for the others
_FORMULA = "=+-@\t\r\n＝＋－＠"  # what spreadsheets begin a formula with
_RESERVED = re.compile('[<>:"/\\\\|?*]')  # what one system or another keeps out of names
_LONGEST = 200  # bytes of a name; systems allow 255, and endings are added to it


def printable(text: str) -> str:
    r"""A text as a terminal may have it, in one line: what would steer it becomes an escape, such as \x1b or \n."""
    return _CONTROL.sub(lambda match: _escape(match[0]), text)


def valid(text: str) -> str:
    r"""A text that every library can encode: bytes that were not UTF-8 become escapes, such as \xff."""
    return "".join(_escape(letter) if "\ud800" <= letter <= "\udfff" else letter for letter in text)


def cell(text: str) -> str:
    """A text as a table's cell: printable, and after an apostrophe where a spreadsheet would run it as a formula."""
    return "'" + printable(text) if text.startswith(tuple(_FORMULA)) else printable(text)


def to_html(text: str) -> str:
    """A text as HTML has it, in an element or in a quoted attribute."""
    return html.escape(printable(text))


def to_json(value: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """A value as JSON that every reader takes, and every terminal.

    Python itself would write lone surrogates, which other readers refuse; their bytes become escapes as in `valid`.

    Args:
        value: as for `json.dumps`.
        indent: spaces of each level; None: all in one line.
        ascii_only: for a stream that cannot say other letters.
    """

    def escape(match: re.Match[str]) -> str:
        is_surrogate = "\ud800" <= match[0] <= "\udfff"
        return "\\" + _escape(match[0]) if is_surrogate else f"\\u{ord(match[0]):04x}"

    text = _BEYOND_ASCII.sub(escape, json.dumps(value, indent=indent, ensure_ascii=False))
    return re.sub("[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], text) if ascii_only else text


def file_name(text: str) -> str:
    """A text as a name, without its ending, that every file system takes; a name that already is one stays."""
    name = _RESERVED.sub("_", _CONTROL.sub("_", text)).encode()[:_LONGEST].decode(errors="ignore")
    return name.rstrip(". ") or "_"


def _escape(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as the system's names have it
        return f"\\x{code - 0xDC00:02x}"
    plain = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(letter)
    return plain or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes its place at the end, or vanishes on an error.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): choose another place or check its permissions"
        ) from None
    finally:
        with suppress(OSError):  # such as a folder on the way that is a file
            temporary.unlink()


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """This process alone writes into a folder, which is made where it is missing; the lock ends with the process.

    Raises:
        InputError: another process holds it, or the folder cannot be made.
    """
    from filelock import FileLock, Timeout

    try:
        os.makedirs(folder, exist_ok=True)
        lock = FileLock(Path(folder) / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder} is being written by another msanet: wait for its end, or choose another --output"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder} cannot be made a folder to write in ({reason}): choose another --output") from None
    try:
        yield
    finally:
        lock.release()


def listing(folder: str | os.PathLike[str], leave_out: str | os.PathLike[str] | None = None) -> list[str]:
    """The files in a folder and the folders below it, sorted; hidden ones and those that we drew left out.

    Links to folders are followed, each folder is entered once. One that cannot be opened is warned of.

    Args:
        folder: where to look.
        leave_out: a folder below it that is not entered, such as that of the results.
    """

    def warn(error: OSError) -> None:
        warnings.warn(f"{error.filename} is left out ({error.strerror}): check its permissions", stacklevel=4)

    found: list[str] = []
    seen = set()
    if leave_out is not None and os.path.isdir(leave_out) and not os.path.samefile(leave_out, folder):
        seen.add(_identity(leave_out))
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=warn):
        if _identity(parent) in seen:
            folders.clear()
            continue
        seen.add(_identity(parent))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = (name for name in files if name[0] != "." and not is_drawn(name))
        found += [path for path in (os.path.join(parent, name) for name in names) if os.path.isfile(path)]
    return sorted(found)


def is_drawn(name: str) -> bool:
    """Whether a file is by its name one that we drew: an annotated copy or a timeline."""
    return os.path.splitext(name)[0].endswith((ANNOTATED, TIMELINE))


def _identity(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Equal for two paths of one file or folder."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
