"""Files appear whole or not at all, folders are written by one process, and no name reaches a reader as it is."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.files import (
    ANNOTATED,
    TIMELINE,
    cell,
    file_name,
    listing,
    locked,
    printable,
    replacing,
    to_html,
    to_json,
    valid,
)

ANY_NAME = st.binary(max_size=40).map(os.fsdecode) | st.text(max_size=40)
"""Texts as the system gives them: bytes that are not UTF-8 are lone surrogates."""

STEERING = ("Cc", "Cs", "Zl", "Zp")
DIRECTION = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def harmless(text: str) -> bool:
    """Nothing in it steers a terminal, and every library can encode it, since it has no surrogates."""
    return not any(unicodedata.category(letter) in STEERING or letter in DIRECTION for letter in text)


@given(ANY_NAME)
def test_a_terminal_gets_one_line_that_steers_nothing(name):
    assert harmless(printable(name))
    if harmless(name):
        assert printable(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("two\nlines\x1b[31m.jpg", r"two\nlines\x1b[31m.jpg"),
        (os.fsdecode(b"name_\xff.jpg"), r"name_\xff.jpg"),
        ("\x9b31m\u202egpj.exe", r"\x9b31m\u202egpj.exe"),
        ("日本 é 👩‍👩‍👧.jpg", "日本 é 👩‍👩‍👧.jpg"),
    ],
)
def test_what_a_terminal_shows(name, shown):
    assert printable(name) == shown


@given(ANY_NAME)
def test_every_reader_takes_our_json(name):
    """What Python cannot say in UTF-8 is the one thing that changes."""
    for indent in (None, 2):
        for ascii_only in (False, True):
            text = to_json({"name": [name], name: 1}, indent, ascii_only)
            assert json.loads(text.encode("ascii" if ascii_only else "utf-8")) == {
                "name": [valid(name)],
                valid(name): 1,
            }
            assert harmless(text.replace("\n", ""))
            assert ("\n" in text) == (indent is not None)


@given(ANY_NAME, st.sampled_from(["", "=", "+", "-", "@", "\t", "\r", "\n", "＝"]))
def test_no_cell_is_a_formula(name, first):
    out = io.StringIO()
    csv.writer(out).writerow([cell(first + name)])
    (row,) = csv.reader(io.StringIO(out.getvalue()))
    assert harmless(row[0])
    assert row[0][:1] not in set("=+-@\t\r\n＝＋－＠")


@given(ANY_NAME)
def test_html_shows_it_and_runs_nothing(name):
    text = to_html(name)
    assert not set(text) & set("<>\"'")
    assert html.unescape(text) == printable(name)
    assert harmless(text)


@given(ANY_NAME)
def test_a_file_name_is_one_everywhere(name):
    made = file_name(name)
    assert made
    assert len(made.encode()) <= 200
    assert harmless(made)
    assert not set(made) & set('<>:"/\\|?*')
    assert made[-1] not in ". "
    assert file_name(made) == made


def test_plain_names_stay():
    for name in ("photo", "日本", "a b-c_d (2)", "x.y"):
        assert printable(name) == cell(name) == to_html(name) == file_name(name) == valid(name) == name


def test_a_folder_is_written_by_one_process(tmp_path):
    folder = tmp_path / "new" / "out"
    code = f"from msanet.files import locked\nwith locked({str(folder)!r}): print('in')"
    other = [sys.executable, "-c", code]
    with locked(folder):
        done = subprocess.run(other, capture_output=True, text=True, check=False, timeout=60)
        assert "another msanet" in done.stderr
        with pytest.raises(InputError, match="another msanet"), locked(folder):
            pass
    assert subprocess.run(other, capture_output=True, text=True, check=False, timeout=60).stdout == "in\n"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made a folder"), locked(tmp_path / "file" / "out"):
        pass


def test_listing_has_all_files_but_hidden_ones_and_those_that_we_drew(tmp_path):
    (tmp_path / "sub").mkdir()
    drawn = (f"a{ANNOTATED}.png", f"sub/c-2{ANNOTATED}.mp4", f"c{TIMELINE}.png")
    for name in ("b.JPG", "a.png", "sub/c", "notes.txt", "annotated.png", ".hidden.png", *drawn):
        (tmp_path / name).touch()
    assert names_in(tmp_path) == ["a.png", "annotated.png", "b.JPG", "notes.txt", "sub/c"]


def test_listing_follows_links_once_and_leaves_out_a_folder(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for name in ("inside/sub/a.png", "inside/results/b.png", "outside/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (inside / "link").symlink_to(outside)
    (inside / "sub" / "circle").symlink_to(inside)
    (outside / "circle").symlink_to(outside)
    (inside / "nowhere.png").symlink_to(tmp_path / "missing.png")
    assert names_in(inside) == ["link/c.png", "results/b.png", "sub/a.png"]
    assert names_in(inside, inside / "sub" / ".." / "results") == ["link/c.png", "sub/a.png"]
    assert names_in(inside, inside) == names_in(inside, tmp_path / "missing") == names_in(inside)


def test_a_folder_that_cannot_be_opened_is_warned_of(tmp_path, monkeypatch):
    def walk(
        folder: Path, onerror: Callable[[OSError], None], **_: object
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        onerror(PermissionError(13, "Permission denied", f"{folder}/closed"))
        yield str(folder), [], ["a.png"]

    (tmp_path / "a.png").touch()
    monkeypatch.setattr("os.walk", walk)  # root may open everything
    with pytest.warns(UserWarning, match=r"closed is left out \(Permission denied\)"):
        assert names_in(tmp_path) == ["a.png"]


def names_in(folder: Path, leave_out: Path | None = None) -> list[str]:
    return [Path(path).relative_to(folder).as_posix() for path in listing(folder, leave_out)]


def test_a_file_is_replaced_at_the_end_and_kept_on_an_error(tmp_path):
    path = tmp_path / "x.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "new"
    assert [item.name for item in tmp_path.iterdir()] == ["x.txt"]


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be written"), replacing(tmp_path / "no" / "x") as temporary:
        temporary.write_text("x")
