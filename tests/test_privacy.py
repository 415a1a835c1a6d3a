"""Nothing leaves the machine, and nothing is written outside of the output and the cache.

Each command runs in a process of its own, with a home folder of its own, where there is no network. Python's audit
events say what Python opens; strace, where it is installed, says what the native libraries open too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY_RECIPE

ROOT = Path(__file__).parents[1]

# Python runs this file at its start, in child processes too.
WATCH = """
import os, sys

log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def watch(event, arguments):
    if event.startswith(("socket.getaddrinfo", "socket.gethostby", "socket.getnameinfo")):
        told = f"network {event} {arguments!r}"
    elif event in ("socket.connect", "socket.sendto", "socket.bind") and isinstance(arguments[1], tuple):
        told = f"network {event} {arguments[1]!r}"
    elif event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        told = f"file {os.path.abspath(os.fsdecode(arguments[0]))}"
    elif event in ("os.mkdir", "os.rename", "os.symlink", "os.link"):
        told = f"file {os.path.abspath(os.fsdecode(arguments[event != 'os.mkdir']))}"
    else:
        return
    os.write(log, (told + "\\n").encode(errors="surrogateescape"))

sys.addaudithook(watch)
"""

COMMANDS: dict[str, Callable[[pytest.FixtureRequest, Path], list[str]]] = {
    "photograph": lambda _, work: ["recognize", str(photograph(work, "a.png")), "--output", "out", "--explain"],
    "folder": lambda _, work: ["recognize", str(photograph(work, "photos/a.png").parent), "--output", "out"],
    "video": lambda request, _: ["recognize", str(request.getfixturevalue("clip")), "--output", "out"],
    "training": lambda request, work: [
        *("train", "--data", f"folder:{request.getfixturevalue('faces_folder')}"),
        *("--recipe", str(recipe(work)), "--output", "out"),
    ],
}


def photograph(work: Path, name: str) -> Path:
    """The portrait, as a picture in that folder."""
    matplotlib = pytest.importorskip("matplotlib")
    path = work / name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg", path)
    return path


def recipe(work: Path) -> Path:
    path = work / "recipe.yaml"
    path.write_text(json.dumps({**TINY_RECIPE, "epochs": 1}))
    return path


def tool(*command: str) -> list[str]:
    """A command that runs others, where it works; else nothing."""
    works = (
        shutil.which(command[0]) and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    )
    return [*command] if works else []


def native(trace: Path, cwd: Path) -> Iterator[str]:
    """What strace wrote down, as `WATCH` says it."""
    for line in trace.read_text(errors="replace").splitlines():
        called = re.match(r"\d+ +(\w+)\(", line)
        if called is None or " = -1 ENOENT" in line:
            continue
        if called[1] in ("connect", "sendto", "sendmsg", "bind"):
            if "AF_INET" in line or "sin_addr" in line:
                yield f"network {line}"
        elif called[1] != "openat" or re.search(r"O_WRONLY|O_RDWR", line):
            names = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
            yield f"file {cwd / names[-1]}"


@pytest.mark.parametrize("kind", COMMANDS)
def test_nothing_leaves_the_machine(request, tmp_path, tiny_model, kind):
    folders = {name: tmp_path / name for name in ("watch", "work", "home", "temporary")}
    for folder in folders.values():
        folder.mkdir()
    cache = Path(os.environ["XDG_CACHE_HOME"])  # the tests' own; in a new one matplotlib would look for fonts anew
    (folders["watch"] / "sitecustomize.py").write_text(WATCH)
    log, trace = tmp_path / "log.txt", tmp_path / "trace.txt"
    calls = "connect,sendto,sendmsg,bind,openat,mkdir,rename,symlink,link"
    watcher = tool("strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={calls}", "-o", str(trace))
    arguments = COMMANDS[kind](request, folders["work"])
    if kind != "training":
        arguments += ["--model", str(tiny_model)]
    # by us; and the last by torch, when the tests themselves have trained before
    set_by_us = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in set_by_us}
    run = subprocess.run(
        [*tool("unshare", "--map-root-user", "--net"), *watcher, sys.executable, "-m", "msanet", *arguments],
        cwd=folders["work"],
        env={
            **environment,
            "PYTHONPATH": f"{folders['watch']}{os.pathsep}{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "WATCH_LOG": str(log),
            "HOME": str(folders["home"]),
            "XDG_CONFIG_HOME": str(folders["home"]),
            "TMPDIR": str(folders["temporary"]),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert any((folders["work"] / "out").iterdir())
    allowed = [folders["work"] / "out", cache, folders["temporary"], Path("/dev"), Path("/proc"), log, trace]

    def outside(lines: list[str]) -> list[str]:
        files = [line.removeprefix("file ") for line in lines if line.startswith("file ")]
        strangers = [file for file in files if not any(Path(file).is_relative_to(folder) for folder in allowed)]
        return [*strangers, *(line for line in lines if line.startswith("network "))]

    told = log.read_text().splitlines()
    assert any(str(folders["work"] / "out") in line for line in told)  # the watch works
    assert outside(told) == []
    assert [str(path) for path in folders["home"].rglob("*")] == []
    assert {path.name for path in cache.iterdir()} <= {"msanet", "matplotlib"}
    assert [str(path) for path in folders["temporary"].rglob("*") if not path.is_dir()] == []  # torch leaves a folder
    if not watcher:
        pytest.skip("Python opened nothing; strace, which sees native libraries too, is not installed or may not run")
    told = list(native(trace, folders["work"]))
    assert any(str(folders["work"] / "out") in line for line in told)
    assert outside(told) == []
