"""Configs: every file loads, typos and bad values end in one helpful line."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from geopose.adaptation import config as adaptation_config
from geopose.adaptation.config import TranslateConfig
from geopose.cli import UserError
from geopose.config import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    flatten,
    load_config,
    save_config,
)
from geopose.models.checkpoints import load_weights
from geopose.models.model import create_model
from geopose.ranges import ACTIVATIONS, RANGES, UPSAMPLINGS, lies_in
from geopose.runs.folder import checkpoint_paths, run_config

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
DEFAULT = ROOT / "configs" / "lite0_synthetic.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_loads_and_survives_a_round_trip(path, tmp_path):
    config = load_config(path, ["data.fold=3"])
    assert config.run.dir == f"runs/{path.stem}/fold3"
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_the_default_has_the_network_and_losses_of_the_run_it_starts_from_but_equal_pixels(monkeypatch):
    monkeypatch.chdir(ROOT)
    default = load_config(DEFAULT)
    released = run_config(default.train.start_from)
    assert default.model == released.model
    assert default.loss == replace(released.loss, tall_m=0.0)
    load_weights(create_model(default.model, load_weights=False), checkpoint_paths(default.train.start_from)[0])
    assert Path(default.run.dir).parent != Path(default.train.start_from).parent


def test_overrides_win_over_the_file():
    config = load_config(DEFAULT, ["train.max_minutes=null", "train.epochs=2", "data.root=elsewhere"])
    assert config.train.max_minutes is None
    assert config.train.epochs == 2
    assert config.data.folds.startswith("elsewhere/")


@pytest.mark.parametrize(
    "text", ["2024_06", "off", "0123", "1e3", "/d/my tiles #2", "a: b", "{x}", "[1", "/d/x=y", "~/d", "null"]
)
def test_a_text_is_taken_as_it_is(text, tmp_path):
    """Paths that YAML would read as a number, a truth value, a comment or a mapping."""
    config = load_config(DEFAULT, [f"data.root={text}", "data.folds=f.csv", f"run.dir={text}"])
    assert (config.data.root, config.run.dir) == (text, text)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_only_an_optional_text_can_be_null_and_lists_are_yaml():
    for word in ("", "null", "~"):
        assert load_config(DEFAULT, [f"train.unlabelled={word}"]).train.unlabelled is None
    assert load_config(DEFAULT, ["train.unlabelled=0123"]).train.unlabelled == "0123"
    with pytest.raises(UserError, match=r"data\.root"):
        load_config(DEFAULT, ["data.root="])
    assert load_config(DEFAULT, ["train.parts=[refiner]"]).train.parts == ["refiner"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epoch=2", "did you mean train.epochs?"),
        ("model.encodr=x", "did you mean model.encoder?"),
        ("trian.epochs=2", "did you mean train.epochs?"),
        ("train.epochs=many", "train.epochs"),
        ("train.epochs=0", "train.epochs=0"),
        ("optim.schedule=cosin", "cosine, plateau, constant"),
        ("augment.crop_jitter=2", "(0, 1]"),
        ("train.epochs", "is not key=value"),
        ("model.decoder_channels=[8,8]", "over 4 encoder layers takes 3"),
        ("predict.zoom_weights=[1,2]", "predict.zoom_weights: --zoom-weights: 2 weights for 1 sizes of views"),
        ("predict.zoom_weights=[0]", "give positive numbers"),
        ("predict.zooms=[nan]", "give positive numbers"),
        ("predict.zooms=[inf]", "give positive numbers"),
        ("augment.wide_factor=0.5", "augment.wide_factor=0.5 must be 1 or more"),
        ("train.keep_checkpoints=0", "train.keep_checkpoints=0 must be 1 or more"),
        ("data.workers=-1", "data.workers=-1 must be 0 or more"),
        ("optim.lr=0", "optim.lr=0.0 must be above 0"),
        ("optim.lr=nan", "optim.lr=nan must be above 0"),
        ("optim.lr=inf", "optim.lr=inf must be above 0"),
        ("model.upsample=foo", "there are nearest, bilinear, deconv"),
        ("model.activation=foo", "there are celu, elu"),
        ("model.head_stride=0", "model.head_stride=0 must be 1 or more"),
        ("model.encoder_layers=[0,1,2,-1]", "must be 0 or more"),
        ("model.encoder_layers=[1,2,2,3]", "from fine to coarse, each once"),
        ("model.encoder_layers=[]", "from fine to coarse, each once"),
        ("seed=-1", "seed=-1 must lie in [0, 2147483647]"),
        ("train.steps_per_epoch=-2", "train.steps_per_epoch=-2 must be 1 or more"),
        ("train.ema_decay=1.5", "train.ema_decay=1.5 must lie in (0, 1)"),
        ("optim.warmup_steps=-3", "optim.warmup_steps=-3 must be 0 or more"),
        ("model.direction_maps=0", "model.direction_maps=0 must be 1 or more"),
        ("model.direction_maps=5", "model.direction_maps=5, but there are 4 encoder layers"),
        ("optim.schedule=plateau", "cannot be fitted to train.max_minutes; give train.epochs"),
        ("train.schedule_steps=[3,9]", "one step per train.schedule_boundaries"),
        ("train.schedule_boundaries=[0.5,1]", "train.max_minutes plans the schedule anew"),
        ("model.encoder_layers=[1,2", "close brackets and quotes"),
        ("augment.speckle_share=2", "augment.speckle_share=2.0 must lie in [0, 1]"),
    ],
)
def test_a_bad_override_is_one_line_that_helps(override, expected):
    with pytest.raises(UserError) as error:
        load_config(DEFAULT, [override])
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_every_number_has_a_range():
    """BlendConfig checks those of the section predict."""
    schema = flatten(OmegaConf.structured(load_config(DEFAULT)))
    kinds = [
        cls.__annotations__ for cls in (DataConfig, AugmentConfig, ModelConfig, LossConfig, OptimConfig, TrainConfig)
    ]
    names = {name for kind in kinds for name, of in kind.items() if re.search("int|float", str(of))}
    numbers = {key for key in schema if key.split(".")[-1] in names and not key.startswith("predict.")} | {"seed"}
    assert numbers == {key for keys in RANGES.values() for key in keys}


def test_every_number_of_a_translation_has_a_range():
    """Its own, or that of the setting of the same name."""
    schema = flatten(OmegaConf.structured(TranslateConfig))
    numbers = {key for key, value in schema.items() if not isinstance(value, str)}
    ranges = [*RANGES.values(), *adaptation_config.RANGES.values()]
    assert numbers == {key for keys in ranges for key in keys if key in schema}
    with pytest.raises(UserError, match=r"train\.epochs=0 must be 1 or more"):
        adaptation_config.load_translate_config(ROOT / "configs" / "translate" / "small.yaml", ["train.epochs=0"])


def test_the_small_translation_has_the_defaults_which_need_no_file():
    small = adaptation_config.load_translate_config(ROOT / "configs" / "translate" / "small.yaml")
    assert adaptation_config.load_translate_config(None) == small
    assert adaptation_config.load_translate_config(None, ["train.epochs=3"]).train.epochs == 3
    with pytest.raises(UserError, match=r"^command line: .*train\.epochs"):
        adaptation_config.load_translate_config(None, ["train.epochs=many"])


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[1, inf)", (1, 9), (0.9, math.inf, math.nan)),
        ("(0, 1]", (0.1, 1), (0, 1.1, math.nan)),
        ("[0, 1)", (0, 0.9), (-0.1, 1, math.nan)),
    ],
)
def test_an_interval_holds_its_closed_ends(interval, inside, outside):
    assert all(lies_in(value, interval) for value in inside)
    assert not any(lies_in(value, interval) for value in outside)


def test_a_layer_that_the_encoder_lacks_is_named():
    config = load_config(DEFAULT, ["model.encoder_layers=[1,2,3,9]"])
    with pytest.raises(UserError, match=r"encoder_layers=\[1, 2, 3, 9\]: tf_efficientnet_lite0 has layers 0 to 4"):
        create_model(config.model, load_weights=False)


def test_shuffling_decoders_take_multiples_of_four():
    with pytest.raises(UserError, match=r"must be multiples of 4 for residual_deconv"):
        load_config(DEFAULT, ["model.upsample=residual_deconv", "model.decoder_channels=[8,16,18]"])


@pytest.mark.parametrize(
    "setting", [*(("upsample", u) for u in UPSAMPLINGS), *(("activation", a) for a in ACTIVATIONS)]
)
def test_every_named_upsampling_and_activation_builds_a_network(setting):
    cfg = ModelConfig("tf_efficientnet_lite0", encoder_layers=[2, 3], decoder_channels=[8], head_channels=4)
    model = create_model(replace(cfg, **dict([setting])), load_weights=False).eval()
    with torch.inference_mode():
        outputs = model(torch.zeros(1, 3, 32, 32), torch.tensor([0.3]), ["ARG"])
    assert outputs["agl_m"].shape == (1, 1, 32, 32)


def test_a_typo_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  epohcs: 3\n")
    with pytest.raises(UserError, match=r"mine.yaml: unknown key train.epohcs; did you mean train.epochs\?"):
        load_config(path)


@pytest.mark.parametrize(
    ("content", "told"), [("\ttrain: 3\n", "not valid YAML"), ("- 3\n", "holds no keys"), ("a: [1", "not valid YAML")]
)
def test_a_damaged_file_is_named(tmp_path, content, told):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"mine.yaml: {told}") as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_plateau_has_no_warmup():
    with pytest.raises(UserError, match="plateau has no warm-up"):
        load_config(ROOT / "configs" / "b6_rdtsc_unet.yaml", ["optim.warmup_steps=500"])


def test_a_folder_is_no_config():
    with pytest.raises(UserError, match="configs: no such file"):
        load_config(ROOT / "configs")


def test_a_missing_file_lists_what_there_is():
    with pytest.raises(UserError, match=r"lite0_synthetic.yaml"):
        load_config(ROOT / "configs" / "nothing.yaml")
