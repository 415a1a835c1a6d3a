"""What `pip install .` costs: megabytes in a fresh environment, seconds to import, seconds for one photograph.

python benchmarks/install.py photo.jpg
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def megabytes(folder: Path) -> float:
    """Of 1e6 bytes, in files."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def best_seconds(*command: str, tries: int = 5) -> float:
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    photo = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        binaries, before = Path(folder) / "bin", megabytes(Path(folder))
        start = time.perf_counter()
        subprocess.run([binaries / "pip", "install", "--quiet", str(ROOT)], check=True)
        seconds = time.perf_counter() - start
        after = megabytes(Path(folder))
        print(f"pip install . takes {seconds:.0f} s, adds {after - before:.0f} MB to {before:.0f} MB")
        python = str(binaries / "python")
        empty, full = best_seconds(python, "-c", ""), best_seconds(python, "-c", "import msanet")
        print(f"import msanet: {full - empty:.3f} s beside python's own start of {empty:.3f} s")
        whole = best_seconds(str(binaries / "msanet"), "recognize", str(photo))
        print(f"msanet recognize {photo.name}, the whole command: {whole:.2f} s")


if __name__ == "__main__":
    main()
