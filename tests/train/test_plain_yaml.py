"""YAML of plain values out of any file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.train.plain_yaml import LARGEST, parse_yaml, read_yaml

PLAIN_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(PLAIN_VALUES)
def test_plain_values_come_back(values):
    assert parse_yaml(yaml.safe_dump(values)) == values


def bomb(levels: int) -> str:
    """Aliases within aliases: 9 to the power of `levels` items."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join(lines)


WRONG = {
    "aliases that grow": (bomb(12), "an alias: write out what it stands for, line 2"),
    "an alias": ("a: &a 1\nb: *a", "an alias"),
    "an alias of itself": ("&a [*a]", "an alias"),
    "a merged alias": ("a: &a {x: 1}\nb:\n  <<: *a", "an alias"),
    "deep lists": ("[" * 5000, "within each other"),
    "deep mappings": ("{a: " * 900, "within each other"),
    "deep dashes": ("- " * 3000 + "a", "within each other"),
    "a long number": ("seed: " + "9" * 5000, "a number that cannot be read"),
    "a large number": (f"seed: {2**63}", "over 64 bits"),
    "a small number": (f"a: [-{2**64}]", "over 64 bits"),
    "infinity": ("a: .inf", "not finite"),
    "no number": ("a: {b: .nan}", "not finite"),
    "a number as a name": ("1: a", "a name that is no text"),
    "a list as a name": ("? [a]\n: b", "unhashable"),
    "a set": ("!!set {a, b}", "a tag"),
    "bytes": ("!!binary aGVsbG8=", "a tag"),
    "a date by its tag": ("!!timestamp 2020-01-01", "a tag"),
    "a word as a number": ("!!int one", "a number that cannot be read"),
    "nothing as a number": ('!!int ""', "a number that cannot be read"),
    "a word as true": ("!!bool perhaps", "a number that cannot be read"),
    "a Python object": ("!!python/object/apply:os.system [ls]", "a tag"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
    "a bracket": ("a: [", "expected the node content"),
    "a control character": ("a: \x00", "a character"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_plain_is_one_short_sentence(tmp_path, case):
    text, words = WRONG[case]
    with pytest.raises(InputError, match=words):
        parse_yaml(text)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "a.yaml is not a YAML file of plain values (" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.text(st.sampled_from("a1:-[]{}&*!?|> \n\t\"'.#,%@"), max_size=60) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        parse_yaml(text)
    except InputError as error:
        assert str(error) != ""  # noqa: PT017  # most texts are read


def test_dates_are_text():
    assert parse_yaml("[2020-01-01, 2020-01-01 10:00:00]") == ["2020-01-01", "2020-01-01 10:00:00"]


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="it is not UTF-8"):
        read_yaml(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(InputError, match="200,000 bytes"):
        read_yaml(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1" + b"\n" * (LARGEST - 7))
    assert read_yaml(tmp_path / "a.yaml") == {"a": 1}
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path)


def test_a_wrong_recipe_is_named_before_torch_is_imported(tmp_path):
    (tmp_path / "bomb.yaml").write_text(bomb(12))
    code = """
import sys
sys.argv = ["msanet", "train", "--data", "folder:none", "--output", "none", "--recipe", sys.argv[1]]
from msanet.cli.app import main
try:
    main()
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(tmp_path / "bomb.yaml")]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert run.stdout.split() == ["2", "False"], run.stderr
    assert "bomb.yaml is not a YAML file of plain values (an alias" in run.stderr
    assert run.stderr.count("\n") == 1
