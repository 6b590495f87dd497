"""Finding the layers of a network whose outputs are NaN or infinite."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def count_nonfinite(model: nn.Module) -> Iterator[dict[str, int]]:
    """Count the NaN and infinite values in each layer's output while the block runs.

    Yields name -> number, in forward order. Only layers without sublayers are watched, and only layers with such values
    are listed.
    """
    counts: dict[str, int] = {}

    def watch(name: str):
        def hook(module, inputs, output) -> None:
            if torch.is_tensor(output) and (bad := int((~torch.isfinite(output)).sum())):
                counts[name] = counts.get(name, 0) + bad

        return hook

    layers = [(name, layer) for name, layer in model.named_modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(watch(name)) for name, layer in layers]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()
