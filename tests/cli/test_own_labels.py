"""The guide's way from a folder of pictures to a model that reads photographs, in four commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
LABELS = ("attentive", "bored", "in pain")


def msanet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "msanet", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_from_a_folder_of_pictures_to_a_model(tmp_path, portrait):
    face = Image.fromarray(portrait[130:330, 168:368]).resize((80, 80))
    for code, label in enumerate(LABELS):
        (tmp_path / "faces" / label).mkdir(parents=True)
        for index in range(4):
            face.rotate(5 * code - 5 + index).save(tmp_path / "faces" / label / f"{index}.png")
    Image.fromarray(portrait).save(tmp_path / "photo.jpg")
    few = ["--set", "epochs=1", "--set", "batch_size=4", "--set", "workers=0", "--set", "data.validation=0.3"]
    train = msanet(tmp_path, "train", "--data", "folder:faces", "--recipe", "finetune", "--output", "runs/mine", *few)
    assert train.returncode == 0, train.stderr
    assert "pictures of attentive, bored, in pain;" in train.stdout
    assert "anew: fc" in train.stdout
    scored = msanet(
        *(tmp_path, "evaluate", "--model", "runs/mine/best.safetensors", "--data", "folder:faces"),
        *("--split", "validation", "--output", "report", "--predictions", "answers.csv"),
    )
    assert scored.returncode == 0, scored.stderr
    assert "| in pain |" in scored.stdout
    assert (tmp_path / "answers.csv").read_text().count("\n") == 4
    assert "in pain" in (tmp_path / "report" / "report.html").read_text()
    export = msanet(tmp_path, "export", "--model", "runs/mine/best.safetensors", "--output", "mine.onnx")
    assert export.returncode == 0, export.stderr
    read = msanet(
        tmp_path, "recognize", "photo.jpg", "--model", "mine.onnx", "--format", "json", "--explain", "--output", "drawn"
    )
    assert read.returncode == 0, read.stderr
    ((face_,),) = [item["faces"] for item in json.loads(read.stdout)]
    assert set(face_["probabilities"]) == set(LABELS)
    assert face_["expression"] in LABELS
    drawn = np.asarray(Image.open(next((tmp_path / "drawn").glob("photo.annotated.*"))))
    assert drawn.shape[0] > portrait.shape[0]  # the reasons stand below
