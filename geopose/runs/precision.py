"""Measure what half precision costs: `python -m geopose precision --run RUN`.

The command predicts the run's validation tiles in each precision that the device has. It prints the score of each
precision, the largest differences of heights and angles from float32, and every layer whose output was not finite.
On a GPU, the row fp32 is true float32, and the row tf32 allows TF32 for convolutions and matrix products.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from geopose.cli import Parser, UserError
from geopose.config import BlendConfig
from geopose.data.dataset import split_fold
from geopose.devices import pick_device
from geopose.geometry import angle_error_rad
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble, NotFiniteError, TilePrediction, score_predictions
from geopose.runs.folder import run_config


@dataclass(frozen=True)
class Audit:
    """One precision: its score and the largest differences from float32 over all tiles, or the error.

    broken_layers counts the values that were not finite, by layer.
    """

    precision: str
    r2: float = math.nan
    height_difference_m: float = math.nan
    angle_difference_deg: float = math.nan
    broken: str = ""
    broken_layers: dict[str, int] = field(default_factory=dict)


def main() -> int:
    """Print the table of precisions. Returns 1 if a prediction was not finite, otherwise 0."""
    parser = Parser(
        "Predict a run's validation tiles in each precision and compare scores, heights and angles with float32.",
        "python -m geopose precision --run runs/lite0_synthetic/fold0",
    )
    parser.add_argument("--run", required=True, metavar="RUN", help="a finished run")
    parser.add_argument("--tiles", type=int, metavar="N", help="only the first N tiles (default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    args = parser.parse_args()
    if args.tiles is not None and args.tiles < 1:
        raise UserError(f"--tiles {args.tiles}: give 1 or more")
    device = pick_device(args.device)
    _, tiles, _ = split_fold(run_config(args.run))
    audits = audit(args.run, tiles.head(args.tiles) if args.tiles else tiles, device)
    print(format_audits(audits))
    return 1 if any(a.broken for a in audits) else 0


def audit(run: str, tiles: pd.DataFrame, device: torch.device) -> list[Audit]:
    """Predict the tiles (columns of read_train_table) in every precision that the device has, fp32 first."""
    precisions = ("fp32", "tf32", "bf16", "fp16") if device.type == "cuda" else ("fp32", "bf16")
    audits, reference = [], None
    for precision in precisions:
        try:
            predictions = predict(run, tiles, device, precision)
        except NotFiniteError as error:
            audits.append(Audit(precision, broken=str(error), broken_layers=error.layers))
            continue
        reference = reference or predictions
        pairs = list(zip(predictions, reference, strict=True))
        audits.append(
            Audit(
                precision,
                score_predictions(predictions, tiles)["final_r2"],
                max(float(np.abs(one.agl_m - other.agl_m).max()) for one, other in pairs),
                max(math.degrees(angle_error_rad(one.angle_rad, other.angle_rad)) for one, other in pairs),
            )
        )
    return audits


def predict(run: str, tiles: pd.DataFrame, device: torch.device, precision: str) -> list[TilePrediction]:
    """Predictions by the run's best checkpoint, without test-time augmentation."""
    blend = BlendConfig(tta="none", checkpoint_weights=(1.0,), precision=precision)
    return list(Ensemble([run], blend, device, Calibration()).predict_tiles(tiles))


def format_audits(audits: list[Audit]) -> str:
    """The table: one line per precision and one per broken layer."""
    lines = [f"{'precision':10} {'R2':>8} {'height m':>9} {'angle deg':>10}   largest differences from fp32"]
    for a in audits:
        figures = f"{a.r2:8.4f} {a.height_difference_m:9.3f} {a.angle_difference_deg:10.3f}"
        lines.append(f"{a.precision:10} {a.broken or figures}")
        lines += [f"{'':10} {layer}: {count} values" for layer, count in a.broken_layers.items()]
    return "\n".join(lines)
