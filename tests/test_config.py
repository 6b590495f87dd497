"""Configs: every file loads, typos and bad values end in one helpful line."""

from pathlib import Path

import pytest

from geopose.cli import UserError
from geopose.config import load_config, save_config

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
DEFAULT = ROOT / "configs" / "lite0_synthetic.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_loads_and_survives_a_round_trip(path, tmp_path):
    config = load_config(path, ["data.fold=3"])
    assert config.run.dir == f"runs/{path.stem}/fold3"
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_overrides_win_over_the_file():
    config = load_config(DEFAULT, ["train.max_minutes=null", "train.epochs=2", "data.root=elsewhere"])
    assert config.train.max_minutes is None
    assert config.train.epochs == 2
    assert config.data.folds.startswith("elsewhere/")


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
        ("augment.wide_factor=0.5", "augment.wide_factor=0.5 must be 1 or more"),
    ],
)
def test_a_bad_override_is_one_line_that_helps(override, expected):
    with pytest.raises(UserError) as error:
        load_config(DEFAULT, [override])
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_typo_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  epohcs: 3\n")
    with pytest.raises(UserError, match=r"mine.yaml: unknown key train.epohcs; did you mean train.epochs\?"):
        load_config(path)


def test_a_missing_file_lists_what_there_is():
    with pytest.raises(UserError, match=r"lite0_synthetic.yaml"):
        load_config(ROOT / "configs" / "nothing.yaml")
