"""Reading tiles for a CPU and for a GPU, and scoring predictions."""

import numpy as np
import pytest
import torch

from geopose.cli import UserError, run_command
from geopose.inference.ensemble import TilePrediction, create_tile_loader, score_predictions
from geopose.io.poses import VflowLabel, read_vflow
from geopose.io.rasters import read_agl
from geopose.io.tables import read_test_table, read_train_table
from geopose.scoring.metrics import PoseScores

CPU, CUDA = torch.device("cpu"), torch.device("cuda")  # the loader depends on the kind of device alone


def test_a_worker_reads_ahead_for_a_gpu_only(competition):
    table = read_test_table(competition)
    loaders = [create_tile_loader(table, device) for device in (CPU, CUDA)]
    assert [loader.num_workers for loader in loaders] == [0, 1]
    expected, read = map(list, loaders)
    assert [batch["id"] for batch in read] == [[tile_id] for tile_id in table.id]
    for one, other in zip(expected, read, strict=True):
        assert torch.equal(one["image"], other["image"]) and one["city"] == other["city"]


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_a_damaged_tile_is_one_line_for_the_user(competition, capsys, device):
    """Also when a worker process reads it, which adds its traceback to the error."""
    table = read_test_table(competition)
    path = table.rgb[1]
    with open(path, "r+b") as stream:
        stream.truncate(100)
    loader = create_tile_loader(table, device)
    with pytest.raises(UserError, match="truncated or not an image"):
        list(loader)
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: len(list(loader)))
    shown = capsys.readouterr().err
    assert ended.value.code == 2
    assert shown.startswith(f"error: {path}: truncated") and shown.count("\n") == 1
    assert "Traceback" not in shown


def test_predictions_score_as_their_pixels_do(competition):
    table = read_train_table(competition)
    rng = np.random.default_rng(0)
    expected, predictions = PoseScores(sorted(table.city.unique())), []
    for row in table.itertuples():
        true_m, true = read_agl(row.agl), read_vflow(row.vflow, row.agl)
        agl_m = (np.nan_to_num(true_m) + rng.normal(0, 5, true_m.shape)).astype(np.float32)
        pose = VflowLabel(true.scale_px_per_m * 0.9, true.angle_rad + 0.1)
        predictions.append(TilePrediction(row.id, agl_m, pose.scale_px_per_m, pose.angle_rad))
        agl_m = np.where(agl_m < 0, np.float32(0), agl_m)
        expected.update(row.city, agl_m, true_m, pose, true)
    assert score_predictions(predictions, table) == expected.compute()
    with pytest.raises(ValueError, match="longer"):
        score_predictions(predictions[:-1], table)
