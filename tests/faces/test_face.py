"""What is known of one face, as JSON."""

from __future__ import annotations

import json

import numpy as np

from msanet.faces.face import Face


def test_a_face_as_json():
    face = Face(
        box=(1.26, 2.0, 3.0, 4.0),
        score=0.912345,
        landmarks=np.ones((5, 2), np.float32),
        expression="fear",
        probabilities={"fear": 0.75, "anger": 0.25},
        corners=np.zeros((4, 2), np.float32),
    )
    values = json.loads(json.dumps(face.to_dict()))
    assert values["box"] == [1.3, 2.0, 3.0, 4.0]
    assert values["score"] == 0.9123
    assert values["probabilities"] == {"fear": 0.75, "anger": 0.25}
    assert "evidence" not in values
