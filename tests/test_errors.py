"""The exception for the user, and what is said where an extra is missing."""

from __future__ import annotations

import json
import sys

import pytest

from msanet.errors import InputError, require


def test_input_errors_are_value_errors():
    assert issubclass(InputError, ValueError)


def test_require_gives_the_module():
    assert require("json", "train") is json


def test_a_missing_module_names_the_pip_command_that_brings_it():
    with pytest.raises(InputError, match=r"no_such_module.*pip install 'msanet\[train\]'") as caught:
        require("no_such_module", "train")
    assert "\n" not in str(caught.value)


def test_the_module_that_is_named_is_the_one_that_is_missing(tmp_path, monkeypatch):
    """A present module whose own import is missing: naming the outer one would send people round in circles."""
    (tmp_path / "outer_module.py").write_text("import inner_module_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="needs inner_module_that_is_missing, which"):
        require("outer_module", "export")
    assert "outer_module" not in sys.modules


def test_other_errors_of_a_module_are_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        require("broken_module", "train")
