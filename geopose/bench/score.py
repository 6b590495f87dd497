"""Scoring: one pass over the files, compared with the two passes of the official program."""

from pathlib import Path

import numpy as np

from geopose.bench.inputs import LARGE_PX, LARGE_TEST, Inputs
from geopose.bench.table import Row, format_seconds
from geopose.bench.timing import alternate
from geopose.cli import UserError
from geopose.geometry import flow_direction
from geopose.io.files import write_bytes
from geopose.io.names import agl_name, city_of, vflow_name
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl
from geopose.io.tables import find_labels
from geopose.scoring.evaluate import evaluate
from geopose.scoring.metrics import DENOMINATOR_FLOOR
from geopose.scoring.submission import encode_prediction


def bench_score(inputs: Inputs) -> list[Row]:
    """The score of tiles as large as those of the competition, and of small ones."""
    large, small = f"{LARGE_TEST} tiles of {LARGE_PX} px", "20 tiles of 512 px"
    return [score_both_ways(inputs.large, large), score_both_ways(inputs.small, small)]


def score_both_ways(root: Path, tiles: str) -> Row:
    """Compare the two ways on noisy predictions. Raises UserError when their scores differ."""
    truth, predictions, scores = root / "truth", root / "noisy", []
    write_noisy_predictions(truth, predictions)
    ours, common = alternate(
        lambda: scores.append(evaluate(truth, predictions).scores["final_r2"]),
        lambda: scores.append(score_in_two_passes(truth, predictions)),
        repeats=5,
    )
    if max(scores) - min(scores) > 1e-5:
        raise UserError(f"the two ways of scoring differ: {min(scores)} and {max(scores)}; fix metrics.py first")
    item = f"score {tiles}, one pass against two"
    return Row(item, format_seconds(ours), format_seconds(common), common / ours, "5 or more")


def write_noisy_predictions(truth: Path, out: Path) -> None:
    """Write the labels of the folder truth as predictions into out: heights with noise of one metre, true poses."""
    rng = np.random.default_rng(0)
    for row in find_labels(truth).itertuples():
        label, agl_m = read_vflow(row.vflow, row.agl), np.nan_to_num(read_agl(row.agl))
        noisy_m = agl_m + rng.normal(size=agl_m.shape)
        for name, content in encode_prediction(row.id, noisy_m, label.scale_px_per_m, label.angle_rad):
            write_bytes(out / name, content)


def score_in_two_passes(truth: Path, predictions: Path) -> float:
    """The final R2 as the official program computes it: it reads every file once for the means, once for the errors."""
    labels = find_labels(truth)
    finals = []
    for _, tiles in labels.groupby(labels.id.map(city_of)):
        sums = {"agl": [0.0, 0], "flow": [0.0, 0]}
        for tile_id, agl, vflow in tiles.itertuples(index=False):
            for name, (true, _) in read_fields(predictions, tile_id, agl, vflow).items():
                sums[name][0] += np.nansum(true, dtype=np.float64)
                sums[name][1] += np.count_nonzero(~np.isnan(true))
        errors, totals = {"agl": 0.0, "flow": 0.0}, {"agl": 0.0, "flow": 0.0}
        for tile_id, agl, vflow in tiles.itertuples(index=False):
            for name, (true, predicted) in read_fields(predictions, tile_id, agl, vflow).items():
                errors[name] += np.nansum((predicted - true) ** 2, dtype=np.float64)
                totals[name] += np.nansum((true - sums[name][0] / sums[name][1]) ** 2, dtype=np.float64)
        finals.append(np.mean([1 - errors[name] / (totals[name] + DENOMINATOR_FLOOR) for name in errors]))
    return float(np.mean(finals))


def read_fields(predictions: Path, tile_id: str, agl: str, vflow: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A tile's true and predicted heights [H,W] in metres ("agl") and flows [H,W,2] in px ("flow"), NaN unknown."""
    true_m, predicted = read_agl(agl).astype(np.float64), predictions / agl_name(tile_id)
    true_pose = read_vflow(vflow, agl)
    pose, agl_m = read_vflow(predictions / vflow_name(tile_id), predicted), read_agl(predicted)
    true_flow, flow = (
        (heights_m * label.scale_px_per_m)[..., None] * flow_direction(label.angle_rad)
        for heights_m, label in ((true_m, true_pose), (agl_m.astype(np.float64), pose))
    )
    return {"agl": (true_m, agl_m), "flow": (true_flow, flow)}
