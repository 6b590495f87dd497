"""train.start_share: what is kept is the mean of the starting weights and the trained ones."""

import shutil

import pytest
import torch
from helpers import config_of

from geopose.cli import UserError
from geopose.config import load_config
from geopose.models.checkpoints import read_weights
from geopose.runs.folder import checkpoint_paths
from geopose.runs.verify import check_score
from geopose.training.callbacks import LossCallback
from geopose.training.runner import train

SETTINGS = ["train.epochs=2", "train.ema_decay=0.9", "train.keep_checkpoints=2"]


def weights_of(run_dir, epoch: int) -> dict[str, torch.Tensor]:
    return read_weights(run_dir / "checkpoints" / f"model.{epoch:04d}.safetensors")


@pytest.fixture(scope="module")
def origin(tiny_data, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("origin") / "run"
    train(config_of(tiny_data, run_dir, "train.epochs=1", "seed=3"))
    return run_dir


@pytest.fixture(scope="module")
def shared(tiny_data, origin, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("shared") / "run"
    train(config_of(tiny_data, run_dir, *SETTINGS, f"train.start_from={origin}", "train.start_share=0.25"))
    return run_dir


def test_kept_weights_are_the_mean_and_training_does_not_see_it(tiny_data, origin, shared, tmp_path):
    """A training without start_share has the trained weights, since both take the same steps."""
    plain = tmp_path / "plain"
    train(config_of(tiny_data, plain, *SETTINGS, f"train.start_from={origin}"))
    start = read_weights(checkpoint_paths(origin)[0])
    for epoch in (1, 2):
        kept, trained = weights_of(shared, epoch), weights_of(plain, epoch)
        moved = 0
        for key, value in kept.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, 0.25 * start[key] + 0.75 * trained[key], rtol=1e-4, atol=1e-6)
                moved += not torch.equal(trained[key], start[key])
        assert moved > 50


def test_the_recorded_score_is_that_of_the_mean(shared):
    assert all(same for same, _ in check_score(shared))


def test_a_resumed_training_keeps_its_own_start(tiny_data, origin, shared, tmp_path, monkeypatch):
    """Also when the run that it started from has been replaced meanwhile."""
    copied, run_dir = tmp_path / "origin", tmp_path / "run"
    shutil.copytree(origin, copied)
    config = config_of(tiny_data, run_dir, *SETTINGS, f"train.start_from={copied}", "train.start_share=0.25")

    class Killed(Exception):
        pass

    def killed(self, runner):
        if runner.epoch_step == 2:
            raise Killed
        real(self, runner)

    real = LossCallback.on_batch_end
    with monkeypatch.context() as patch:
        patch.setattr(LossCallback, "on_batch_end", killed)
        with pytest.raises(Killed):
            train(config)
    shutil.copyfile(checkpoint_paths(shared)[0], checkpoint_paths(copied)[0])
    train(config)
    for epoch in (1, 2):
        whole, resumed = weights_of(shared, epoch), weights_of(run_dir, epoch)
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_share_without_a_start_is_refused():
    with pytest.raises(UserError, match=r"train\.start_share .* name the run with train\.start_from"):
        load_config("configs/lite0_imagenet.yaml", ["train.start_share=0.5"])
