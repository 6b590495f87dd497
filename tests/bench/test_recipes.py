"""The table of training steps and large images of configs, on a tiny config."""

from pathlib import Path

import pytest
import torch
from helpers import FROM_IMAGENET, REPO, TINY_CONFIG, assert_user_error, run

from geopose.bench import recipes
from geopose.bench.recipes import PRECISIONS, RecipeRow, Speed, format_row, measure_recipe, measure_recipes
from geopose.cli import UserError
from geopose.config import load_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config():
    return load_config(REPO / FROM_IMAGENET, [*TINY_CONFIG, "model.encoder_weights=none"])


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_and_an_image_are_measured(config, compiled, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: None)  # the compiler takes minutes
    row = measure_recipe(config, "fp32", CPU, compiled, image_px=64)
    assert row.step.seconds > 0 and row.step.gb is None and not row.why_not
    if compiled:
        assert row.image is None and row.d4 is None
    else:
        assert row.d4.seconds > row.image.seconds > 0


def test_what_a_cpu_lacks_is_said(config, monkeypatch):
    monkeypatch.setattr(recipes, "is_faster_in_bf16", lambda device: False)
    reasons = [measure_recipe(config, name, CPU).why_not for name in ("tf32", "bf16", "fp16")]
    assert reasons == ["needs a GPU", "this processor is slower in bf16", "needs a GPU"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_is_measured_in_each_precision(config, precision):
    row = measure_recipe(config, precision, torch.device("cuda"), image_px=64)
    assert row.step.gb > 0 and row.d4.gb > 0 and not row.why_not


def test_memory_that_is_too_small_is_said(config, monkeypatch):
    def too_large(*_):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(recipes, "step_speed", too_large)
    row = measure_recipe(config, "fp32", CPU, image_px=64)
    assert row.why_not == "the GPU's memory is too small" and row.image.seconds > 0


def test_each_config_has_one_row_per_precision(monkeypatch):
    monkeypatch.setattr(recipes, "measure_recipe", lambda config, name, *_: RecipeRow(config.run.name, name, 1))
    header, line, *rows = measure_recipes([REPO / FROM_IMAGENET, REPO / "configs" / "b7_unet.yaml"], CPU)
    assert header.count("|") == line.count("|") == rows[0].count("|")
    names = [tuple(row.split(" | ")[:2]) for row in rows]
    assert names == [(f"| {c}", p) for c in ("lite0_imagenet", "b7_unet") for p in PRECISIONS]


def test_rates_follow_from_the_step():
    row = RecipeRow("x", "bf16", 4, Speed(0.25, 12.5), Speed(0.1, 3.0), Speed(0.8, 3.5))
    assert format_row(row) == "| x | bf16 | 0.25 | 4 | 16 | 12.5 | 0.1 | 3 | 0.8 | 3.5 |  |"


def test_a_missing_config_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(recipes, "measure_recipe", lambda *_: pytest.fail("measured"))
    with pytest.raises(UserError, match=r"b9\.yaml"):
        list(measure_recipes([REPO / FROM_IMAGENET, Path("configs/b9.yaml")], CPU))


def test_compile_alone_is_refused():
    assert_user_error(run("-m", "geopose", "bench", "--compile"), "--recipes")
