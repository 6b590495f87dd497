"""The refiner: it begins as nothing, learns sharp edges from the image, and is trained alone."""

import pytest
import torch
from helpers import config_of
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from geopose.cli import UserError
from geopose.config import ModelConfig
from geopose.models.checkpoints import load_weights, save_weights
from geopose.models.model import create_model
from geopose.models.refiner import Refiner
from geopose.runs.folder import checkpoint_paths
from geopose.training.runner import train

COARSE = {"encoder_layers": [1, 2, 3, 4], "decoder_channels": [8, 8, 16], "head_channels": 8, "head_stride": 2}


def roofs(seed: int, side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright rectangles on dark ground as an image [1,3,H,W], and their heights [1,1,H,W]."""
    draw = torch.Generator().manual_seed(seed)
    agl_m = torch.zeros(1, 1, side, side)
    for _ in range(4):
        row, column = torch.randint(0, side - 16, (2,), generator=draw).tolist()
        height, width = torch.randint(9, 16, (2,), generator=draw).tolist()
        agl_m[..., row : row + height, column : column + width] = 20.0
    return 60.0 + 6.0 * agl_m.expand(1, 3, side, side), agl_m


def soften(agl_m):
    """What heads at stride 2 give at best."""
    return F.interpolate(F.avg_pool2d(agl_m, 2), scale_factor=2, mode="bilinear", align_corners=False)


def test_a_refiner_learns_sharp_edges_of_other_roofs():
    torch.manual_seed(0)
    refiner = Refiner(in_channels=1, planes=1, channels=8, stride=2, unit=10.0, activation="silu")
    features = torch.zeros(1, 1, 32, 32)
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=1e-2)
    for step in range(120):
        image, agl_m = roofs(step)
        loss = F.mse_loss(refiner(features, image, soften(agl_m)), agl_m)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    image, agl_m = roofs(1000)
    with torch.inference_mode():
        before, after = F.mse_loss(soften(agl_m), agl_m), F.mse_loss(refiner(features, image, soften(agl_m)), agl_m)
    assert after < 0.2 * before


def test_a_new_refiner_changes_nothing(tmp_path):
    torch.manual_seed(0)
    plain = create_model(ModelConfig(**COARSE)).eval()
    save_weights(plain, tmp_path / "plain.safetensors")
    refined = create_model(ModelConfig(**COARSE, refiner_channels=8)).eval()
    load_weights(refined, tmp_path / "plain.safetensors", new_part="refiner")
    image = torch.randint(0, 256, (2, 3, 65, 97), dtype=torch.uint8)
    with torch.inference_mode():
        before, after = (model(image, torch.tensor([0.3, 0.5]), ["ARG", "JAX"]) for model in (plain, refined))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_only_a_whole_new_part_may_be_missing(tmp_path):
    model = create_model(ModelConfig(**COARSE, refiner_channels=8), load_weights=False)
    plain = create_model(ModelConfig(**COARSE), load_weights=False)
    save_weights(plain, tmp_path / "plain.safetensors")
    with pytest.raises(UserError, match="lacks 6 tensors"):
        load_weights(model, tmp_path / "plain.safetensors")
    half = {key: value for key, value in model.state_dict().items() if not key.startswith("refiner.output")}
    save_file(half, tmp_path / "half.safetensors")
    with pytest.raises(UserError, match="lacks 2 tensors"):
        load_weights(model, tmp_path / "half.safetensors", new_part="refiner")


def test_training_the_refiner_alone_keeps_all_other_weights(tiny_data, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    strided = ["model.encoder_layers=[1,2,3,4]", "model.decoder_channels=[8,8,16]", "model.head_stride=2"]
    train(config_of(tiny_data, first, *strided))
    alone = [f"train.start_from={first}", "model.refiner_channels=8", "train.parts=[refiner]", "train.epochs=2"]
    train(config_of(tiny_data, second, *strided, *alone))
    before, after = (load_file(checkpoint_paths(run_dir)[0]) for run_dir in (first, second))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    new = after.keys() - before.keys()
    assert new and all(name.startswith("refiner.") for name in new)
    assert after["refiner.output.weight"].abs().max() > 0


def test_an_unknown_part_is_named():
    with pytest.raises(UserError, match=r"train.parts: sharpener is no part of this model; its parts are encoder, "):
        create_model(ModelConfig(**COARSE), load_weights=False).train_only(["sharpener"])
