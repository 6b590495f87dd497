"""Weights of the encoder: from the package, from files of timm, from a download."""

import pytest
import timm
import torch
from helpers import run_alone
from safetensors.torch import save_file

from geopose.cli import UserError
from geopose.config import ModelConfig
from geopose.models.encoders import ChannelsFirst, create_encoder
from geopose.models.model import create_model


def test_packaged_weights_are_the_imagenet_ones():
    trained, random = (create_model(ModelConfig(encoder_weights=w)).encoder for w in ("packaged", "none"))
    names = set(trained.state_dict())
    assert names == set(random.state_dict())
    differing = [n for n in names if not torch.equal(trained.state_dict()[n], random.state_dict()[n])]
    assert len(differing) > 0.9 * len([n for n in names if "num_batches" not in n])
    assert trained.mean.unique() == trained.std.unique() == 127.5


def test_unknown_encoders_and_weights_are_refused():
    with pytest.raises(UserError, match=r"model.encoder=resnet19 is unknown; timm has .*resnet"):
        create_model(ModelConfig(encoder="resnet19"))
    with pytest.raises(UserError, match=r"b7.none: there are tf_efficientnet_b7.aa_in1k, .*ns_jft_in1k"):
        create_model(ModelConfig(encoder="tf_efficientnet_b7.none", encoder_weights="none"))
    with pytest.raises(UserError, match="packaged exists for tf_efficientnet_lite0 only"):
        create_model(ModelConfig(encoder="resnet18"))
    with pytest.raises(UserError, match="no such file"):
        create_model(ModelConfig(encoder_weights="nowhere.pth"))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_a_weight_file_of_timm_fills_the_encoder(name, tmp_path):
    torch.manual_seed(3)
    network = timm.create_model(name, num_classes=5)
    torch.save(network.state_dict(), tmp_path / "own.pth")
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    for file in ("own.pth", "own.safetensors"):
        layers = [0, 1, 2, 3]
        cfg = ModelConfig(name, encoder_weights=str(tmp_path / file), encoder_layers=layers)
        encoder = create_encoder(cfg)
        stored = {key.replace(".", "_"): value for key, value in network.state_dict().items()}
        loaded = {key.replace(".", "_"): value for key, value in timm_part(encoder).state_dict().items()}
        assert loaded and all(torch.equal(value, stored[key]) for key, value in loaded.items())


def timm_part(encoder) -> torch.nn.Module:
    """timm's network inside an encoder, also where its maps are turned to channels first."""
    backbone = encoder.network.encoder
    return backbone.network if isinstance(backbone, ChannelsFirst) else backbone


def test_weight_files_that_do_not_fit_or_are_damaged_are_one_line(tmp_path):
    def refused(path, *words):
        with pytest.raises(UserError) as error:
            create_encoder(ModelConfig(encoder_weights=str(path)))
        assert all(word in str(error.value) for word in (path.name, *words)) and "\n" not in str(error.value)

    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    whole = tmp_path / "whole.pth"
    torch.save(state, whole)
    for name, content in (("text.pth", b"not weights"), ("half.pth", whole.read_bytes()[:5000]), ("empty.pth", b"")):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "truncated or not a weight file")
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    refused(tmp_path / "bad.safetensors", "truncated or not a weight file")
    torch.save([1, 2], tmp_path / "list.pth")
    refused(tmp_path / "list.pth", "truncated or not a weight file")
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "other.pth")
    refused(tmp_path / "other.pth", "are no weights of tf_efficientnet_lite0")
    torch.save({key: value for key, value in state.items() if key != "bn1.bias"}, tmp_path / "gap.pth")
    refused(tmp_path / "gap.pth", "lacks 1 weights of tf_efficientnet_lite0 (bn1_bias)")
    torch.save(timm.create_model("tf_efficientnet_lite1").state_dict(), tmp_path / "larger.pth")
    refused(tmp_path / "larger.pth", "are no weights of tf_efficientnet_lite0")


def test_a_download_without_a_network_is_one_line():
    code = (
        "from geopose.cli import run_command; from geopose.config import ModelConfig; "
        "from geopose.models.encoders import create_encoder; "
        "run_command(lambda: create_encoder(ModelConfig('resnet18', 'download')))"
    )
    done = run_alone("-W", "ignore", "-c", code, HF_HUB_OFFLINE="1", HF_HOME="/nonexistent")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "encoder_weights=download: no weights of resnet18 could be downloaded" in done.stderr.splitlines()[-1]
