"""ONNX sessions: threads, providers and metadata; the only file that imports onnxruntime."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from msanet.errors import InputError

DEFAULT_THREADS = 8
"""Most threads taken without being asked: small networks gain nothing from more."""


MOST_THREADS = 256
"""More than this is refused, as a slip of the finger."""


def processors() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_threads() -> int:
    """Threads used when none are asked for: the processors this process may run on, `DEFAULT_THREADS` at most."""
    return min(processors(), DEFAULT_THREADS)


def usable_threads(threads: int | None, name: str = "threads") -> int:
    """The threads asked for, but no more than `processors()`, for which more would only wait; None:
    `available_threads()`.

    Raises:
        InputError: they are under 1 or over `MOST_THREADS`; `name` says what they are.
    """
    if threads is None:
        return available_threads()
    if not 1 <= threads <= MOST_THREADS:
        raise InputError(f"{name} is {threads}: give 1 to {MOST_THREADS}, or none for all processors")
    return min(threads, processors())


def limit_arenas() -> None:
    """Let this process allocate from two of glibc's arenas for good; nothing where the C library is another.

    By default every thread has its own. Large pictures made in one thread and freed in another leave holes in all of
    them: annotating a 720p video took 320 to 990 MiB, and takes 310 to 345 with two, as fast.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-8, 2)  # M_ARENA_MAX of malloc.h


class Session:
    """An ONNX network ready to run; several threads may run it at once.

    Args:
        model: path of an ONNX file, or its bytes.
        threads: processor threads for one run, see `usable_threads`.
        providers: onnxruntime's execution providers in order of preference; None: the processor.

    Attributes:
        name: the path, or "the ONNX bytes".
        outputs: names of the network's outputs.
        custom_metadata: what else the file says, name -> text.

    Raises:
        InputError: the file is missing or no ONNX network, `threads` is out of range or a provider is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        threads = usable_threads(threads)
        self.name = "the ONNX bytes" if isinstance(model, bytes) else os.fspath(model)
        if not isinstance(model, bytes):
            _check_file(Path(model))

        import onnxruntime

        # none of its own lines on the terminal: whatever fails is raised too, and said by us
        onnxruntime.set_default_logger_severity(4)
        missing = set(providers or ()) - set(onnxruntime.get_available_providers())
        if missing:
            raise InputError(
                f"onnxruntime here has no {', '.join(sorted(missing))}: "
                f"choose among {', '.join(onnxruntime.get_available_providers())}"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # the arena doubles when several threads run at once: peaks of 830 MB instead of 480, and no time saved
        options.enable_cpu_mem_arena = False
        # Idle threads would go on spinning after a run and take the processors from what comes next: the other network,
        # the decoder, the caller.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                model if isinstance(model, bytes) else self.name,
                options,
                providers=list(providers or ["CPUExecutionProvider"]),
            )
        except Exception as error:  # onnxruntime's own exceptions have no common base
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.name} cannot be loaded as ONNX ({reason}): export or download it again") from None
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.custom_metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs named, for inputs by name."""
        results: list[np.ndarray] = self._session.run(list(outputs), dict(inputs))
        return results


def _check_file(path: Path) -> None:
    """Name what the file is when it cannot be ONNX, before onnxruntime's long sentences do."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: check the path, or choose a model that msanet models lists")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): check its permissions") from None
    # a pickle begins with its protocol, torch's archive of pickles is a zip
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or start[:4] == b"PK\x03\x04":
        raise InputError(
            f"{path} is a pickle, which could run any code: weights load only from safetensors or ONNX files"
        )
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        raise InputError(f"{path} is safetensors, which recognition does not run: write it as ONNX with msanet export")
