"""ONNX sessions: loading, refusing, metadata."""

from __future__ import annotations

import json
import pickle
import platform
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from msanet.errors import InputError
from msanet.runtime import Session, available_threads, usable_threads

ARENAS = """
import ctypes, sys, threading
from msanet.runtime import limit_arenas
if sys.argv[1] == "limited":
    limit_arenas()
libc, ready = ctypes.CDLL(None), threading.Barrier(8)
libc.malloc.restype = ctypes.c_void_p
def work():
    ready.wait()
    libc.malloc(ctypes.c_size_t(100_000))
    ready.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_limited_arenas_are_two_however_many_threads():
    def arenas(words):
        run = subprocess.run([sys.executable, "-c", ARENAS, words], capture_output=True, text=True, check=True)
        return len(re.findall("<heap nr=", run.stdout))

    assert arenas("limited") <= 2 < arenas("free")


def test_threads_are_no_more_than_there_are_processors(monkeypatch):
    monkeypatch.setattr("msanet.runtime.processors", lambda: 4)
    assert [usable_threads(number) for number in (None, 1, 4, 5, 256)] == [4, 1, 4, 4, 4]
    for number in (0, -1, 257):
        with pytest.raises(InputError, match=f"workers is {number}: give 1 to 256"):
            usable_threads(number, "workers")


def test_a_file_and_its_bytes_run_alike(tiny_model):
    images = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    results = [
        Session(source, threads=1).run(["logits", "embedding"], {"images": images})
        for source in (tiny_model, str(tiny_model), tiny_model.read_bytes())
    ]
    assert [output.shape for output in results[0]] == [(3, 8), (3, 8)]
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert np.array_equal(first, second)


def test_sessions_keep_no_arena_and_do_not_spin(tiny_model):
    """Both cost other programs: an arena that doubles under several threads, threads that go on turning."""
    session = Session(tiny_model, threads=1)
    options = session._session.get_session_options()
    assert options.enable_cpu_mem_arena is False
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert session.run(["logits"], {"images": np.zeros((1, 3, 32, 32), np.float32)})[0].shape == (1, 8)


def test_metadata_and_outputs(tiny_model):
    session = Session(tiny_model)
    assert json.loads(session.custom_metadata["msanet"])["name"] == "tiny"
    assert set(session.outputs) == {"logits", "embedding", "evidence", "attention"}


def test_every_wrong_file_is_one_sentence_with_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "torch.pt", "w") as archive:
        archive.writestr("data.pkl", "x")
    bad = {
        "weights.pth": (pickle.dumps({"a": 1}, protocol=2), "only from safetensors or ONNX"),
        "torch.pt": ((tmp_path / "torch.pt").read_bytes(), "only from safetensors or ONNX"),
        "model.safetensors": (b"\x02" + b"\x00" * 7 + b"{}", "msanet export"),
        "text.onnx": (b"I am no network", "cannot be loaded"),
        "empty.onnx": (b"", "cannot be loaded"),
    }
    for name, (data, words) in bad.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError, match=words) as caught:
            Session(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        Session(tmp_path / "missing.onnx")


def test_wrong_arguments(tiny_model):
    with pytest.raises(InputError, match="threads is 0"):
        Session(tiny_model, threads=0)
    with pytest.raises(InputError, match="CPUExecutionProvider"):
        Session(tiny_model, providers=["NoSuchProvider"])


def test_threads_follow_the_processors():
    assert 1 <= available_threads() <= 8
