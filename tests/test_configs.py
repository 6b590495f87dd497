"""Every file of configs/ builds its network, learns from a small batch through the real loss, and says its size."""

import re
from pathlib import Path

import pytest
import torch

from geopose.adaptation.config import load_translate_config
from geopose.config import load_config
from geopose.models.model import count_parameters, create_model
from geopose.runs.plan import Place, list_jobs, read_plan
from geopose.synthetic.dataset import Options
from geopose.training.losses import PoseLoss

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
TRANSLATIONS = sorted((ROOT / "configs" / "translate").glob("*.yaml"))
LISTS = sorted(path for path in (ROOT / "configs").glob("*/*.yaml") if path.parent.name not in ("translate", "blend"))


def shrunken(path):
    """The config with narrow decoder and heads and no weights to download: the same code path, in seconds."""
    layers = len(load_config(path).model.decoder_channels)
    overrides = [f"model.decoder_channels={[16] * layers}", "model.head_channels=8"]
    weights = load_config(path).model.encoder_weights
    return load_config(path, [*overrides, *(["model.encoder_weights=none"] if weights == "download" else [])])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_config_trains_on_a_small_batch(path):
    torch.manual_seed(0)
    config = shrunken(path)
    model = create_model(config.model).train()
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=generator)
    batch = {
        "agl_m": torch.rand(2, 1, 64, 96, generator=generator) * 30,
        "scale_px_per_m": torch.tensor([0.5, 1.5]),
        "angle_rad": torch.tensor([1.0, 4.0]),
        "city": ["ARG", "JAX"],
    }
    batch["agl_m"][:, :, :8] = torch.nan
    outputs = model(image, torch.tensor([0.3, 0.5]), batch["city"])
    assert outputs["agl_m"].shape == outputs["mag_px"].shape == (2, 1, 64, 96)
    loss = PoseLoss(config.loss)(outputs, batch)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    # Distributed training waits for a gradient of every parameter.
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_config_states_its_command_hardware_hours_and_size(path):
    header = path.read_text().split("\nmodel:")[0]
    for field in ("# Command: ", "# Hardware: ", "# Hours: ", "# Expected R2: "):
        assert field in header
    stated = float(re.search(r"# Parameters: +([\d.]+) M", header).group(1))
    with torch.device("meta"):
        model = create_model(load_config(path).model, load_weights=False)
    assert stated == pytest.approx(count_parameters(model) / 1e6, abs=0.06)


@pytest.mark.parametrize("path", LISTS, ids=lambda p: p.parent.name)
def test_the_variants_of_a_list_take_crops_that_the_default_tiles_hold(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan, place = read_plan(path), Place("data", "data/folds.csv", 0, "data", "images", Path("runs"))
    jobs = list_jobs(plan, plan.variants, plan.seeds, place)
    assert jobs
    for job in jobs:
        config = load_config(job.variant.config, job.overrides)
        assert config.augment.crop_px / config.model.input_zoom <= Options().size, job.variant.name


@pytest.mark.parametrize("path", TRANSLATIONS, ids=lambda p: p.stem)
def test_a_translation_config_loads_and_states_its_command_hardware_and_hours(path):
    load_translate_config(path)
    for field in ("# Command:  ", "# Hardware: ", "# Hours:    "):
        assert field in path.read_text()
