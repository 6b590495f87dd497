"""Which layers of a network give values that are not finite."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def count_nonfinite(model: nn.Module) -> Iterator[dict[str, int]]:
    """Counts, while the block runs, the NaN and infinite values each layer gives: name -> number, in forward order.

    Only layers without parts of their own are watched, and only those that break are named.
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
