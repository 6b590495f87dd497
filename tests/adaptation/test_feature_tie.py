"""The tie of an encoder's features to those of its pretrained weights."""

import copy

import pytest
import torch
from helpers import config_of

from geopose.adaptation import feature_tie
from geopose.adaptation.feature_tie import FeatureTie, tie_loss
from geopose.cli import UserError
from geopose.config import ModelConfig
from geopose.models.model import create_model
from geopose.training import self_training
from geopose.training.runner import train

CPU = torch.device("cpu")


def test_only_places_below_the_limit_count():
    wanted = torch.zeros(1, 2, 1, 4)
    wanted[0, 0] = 1
    cosines = torch.tensor([1.0, 0.81, 0.79, -0.5])
    features = torch.stack([cosines, (1 - cosines.square()).sqrt()])[None, :, None].requires_grad_()
    loss = tie_loss(3 * features, wanted)  # a length does not count
    assert float(loss) == pytest.approx((0.21 + 1.5) / 4, abs=1e-5)
    loss.backward()
    assert (features.grad.abs().sum(1)[0, 0] > 0).tolist() == [False, False, True, True]


def test_the_tie_pulls_a_changed_encoder_back():
    cfg = ModelConfig(encoder_layers=[3, 4], decoder_channels=[8], head_channels=4)
    model = create_model(cfg).train()
    tie = FeatureTie(cfg, CPU)
    tie.watch(model)
    image = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0)) * 255
    inputs = (image, torch.tensor([0.4, 0.4]), ["", ""])
    model(*inputs)
    assert float(tie.loss()) == 0, "the encoder is the pretrained one"

    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.add_(0.5 * weight.std(correction=0) * torch.randn_like(weight))
    before = copy.deepcopy(tie.pretrained.state_dict())
    optimizer, losses = torch.optim.AdamW(model.encoder.parameters(), lr=1e-3), []
    for _ in range(8):
        model(*inputs)
        losses.append(tie.loss())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0] > 0.3 and losses[-1] < 0.7 * losses[0], losses
    for name, weight in tie.pretrained.named_parameters():
        assert torch.equal(weight, before[name]), "the pretrained encoder is frozen"


def test_a_training_without_a_tie_builds_no_second_encoder(tiny_data, tmp_path, monkeypatch):
    built, real = [], feature_tie.create_encoder
    monkeypatch.setattr(feature_tie, "create_encoder", lambda cfg: built.append(1) or real(cfg))
    short = ["train.epochs=1", "train.steps_per_epoch=1"]
    train(config_of(tiny_data, tmp_path / "without", *short))
    assert not built
    train(config_of(tiny_data, tmp_path / "with", *short, "loss.feature_tie_weight=1"))
    assert len(built) == 1


def test_training_adds_the_tie_of_labelled_and_unlabelled_crops(tiny_data, tmp_path, monkeypatch):
    """With nothing but the tie, the encoder gets gradients from both kinds of crops."""
    seen, real = [], FeatureTie.loss

    def loss(self):
        seen.append(self.image.shape[0])
        return real(self)

    monkeypatch.setattr(feature_tie, "TIED_BELOW", 1.1)
    monkeypatch.setattr(FeatureTie, "loss", loss)
    monkeypatch.setattr(
        self_training, "unlabelled_loss", lambda outputs, *_: 0 * sum(v.sum() for v in outputs.values())
    )
    settings = ["train.epochs=1", "train.steps_per_epoch=3", "loss.feature_tie_weight=1"]
    unlabelled = [f"train.unlabelled={tiny_data / 'test'}", "train.unlabelled_start_step=1"]
    train(config_of(tiny_data, tmp_path / "run", *settings, *unlabelled))
    assert len(seen) == 5, "three labelled batches and two unlabelled ones"
    header, row = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    metrics = dict(zip(header.split(","), row.split(","), strict=True))
    assert float(metrics["train_loss_feature_tie"]) > 0 and float(metrics["train_loss_unlabelled"]) == 0


def test_a_tie_to_random_weights_is_refused(tiny_data, tmp_path):
    with pytest.raises(UserError, match=r"feature_tie_weight needs pretrained weights, but model.encoder_weights=none"):
        config_of(tiny_data, tmp_path, "loss.feature_tie_weight=1", "model.encoder_weights=none")
