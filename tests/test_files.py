"""Files appear whole or not at all."""

from __future__ import annotations

import pytest

from msanet.errors import InputError
from msanet.files import replacing


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
