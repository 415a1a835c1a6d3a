"""The exception for the user, and what is said where an extra is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from msanet.errors import EXTRAS, InputError, require


def test_input_errors_are_value_errors():
    assert issubclass(InputError, ValueError)


def test_require_gives_the_module():
    assert require("json") is json


def test_a_missing_extra_names_the_pip_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"onnxscript.*pip install 'msanet\[export\]'") as caught:
        require("onnxscript")
    assert "\n" not in str(caught.value)


def test_the_module_that_is_named_is_the_one_that_is_missing(tmp_path, monkeypatch):
    """A present module whose own import is missing: naming the outer one would send people round in circles."""
    (tmp_path / "outer_module.py").write_text("import safetensors.torch\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(InputError, match="needs safetensors, which"):
        require("outer_module")
    assert "outer_module" not in sys.modules


@pytest.mark.parametrize(
    ("content", "error"), [("1 / 0\n", ZeroDivisionError), ("import no_such_module\n", ModuleNotFoundError)]
)
def test_other_errors_of_a_module_are_not_taken_for_a_missing_extra(tmp_path, monkeypatch, content, error):
    (tmp_path / "broken_module.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error):
        require("broken_module")


def test_the_extras_bring_what_they_are_said_to_bring():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    names = {"pillow_heif": "pillow-heif", "sklearn": "scikit-learn", "yaml": "PyYAML"}
    for module, extra in EXTRAS.items():
        wanted = names.get(module, module)
        assert any(line.startswith(f"{wanted}>=") for line in project["optional-dependencies"][extra]), module
        assert not any(line.startswith(f"{wanted}>=") for line in project["dependencies"])
