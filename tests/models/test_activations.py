"""The released run answers as it did when its answers were stored, on any CPU.

After the released run was replaced, store the answers of the new one: python -m tests.models.test_activations
"""

import json
from pathlib import Path

import numpy as np
import torch

from geopose.geometry import fit_scale
from geopose.models.checkpoints import load_model
from geopose.runs.folder import checkpoint_paths, fingerprint_file

COMMAND = "python -m tests.models.test_activations"
RELEASED = Path(__file__).parents[2] / "runs" / "synthetic_lite0" / "fold0"
STORED = Path(__file__).with_name("activations.json")
GSD_M = 0.4
ROOFS = (
    (18, 14, 30, 22, 150),
    (70, 20, 16, 40, 200),
    (104, 12, 40, 26, 120),
    (24, 66, 52, 34, 175),
    (100, 70, 24, 24, 230),
)


def town() -> torch.Tensor:
    """Streets and roofs with walls and shadows, in whole numbers, so that every machine has the same: [1,3,128,160]."""
    y, x = np.mgrid[:128, :160]
    grey = 84 + (7 * x + 13 * y) % 19 + (x * y) % 11
    for left, top, width, height, brightness in ROOFS:
        shadow, wall, roof = (np.s_[top + d : top + height + d, left + d : left + width + d] for d in (14, 7, 0))
        grey[shadow] = grey[shadow] // 3
        grey[wall] = 60 + 40 * (x[wall] // 3 % 2)
        grey[roof] = brightness + (x[roof] + y[roof]) % 5
    bands = np.stack([grey, grey - 5, grey - 14]).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(bands)[None]


def answers() -> dict:
    """What the released run says of the town: heights in metres at points 32 px apart, scale in px/m, direction."""
    (checkpoint,) = checkpoint_paths(RELEASED)
    model = load_model(RELEASED, checkpoint, torch.device("cpu"))
    with torch.inference_mode():
        outputs = model(town(), torch.tensor([GSD_M]), [""])
    return {
        "checkpoint": fingerprint_file(checkpoint),
        "agl_m": outputs["agl_m"][0, 0, 16::32, 16::32].tolist(),
        "scale_px_per_m": float(fit_scale(outputs["mag_px"], outputs["agl_m"])[0, 0]),
        "direction": outputs["direction"][0].tolist(),
    }


def test_the_released_run_answers_as_stored():
    stored, now = json.loads(STORED.read_text()), answers()
    assert now["checkpoint"] == stored["checkpoint"], f"the released run was replaced; run '{COMMAND}'"
    assert np.ptp(stored["agl_m"]) > 2 and stored["scale_px_per_m"] > 0.1
    for key in ("agl_m", "scale_px_per_m", "direction"):
        np.testing.assert_allclose(now[key], stored[key], rtol=0, atol=1e-3, err_msg=key)


def test_the_image_is_the_same_everywhere():
    image = town()
    assert (image.shape, int(image.long().sum())) == ((1, 3, 128, 160), 6163195)


if __name__ == "__main__":
    STORED.write_text(json.dumps(answers(), indent=2) + "\n")
    print(f"{STORED} written")
