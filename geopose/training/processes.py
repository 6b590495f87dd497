"""What the processes (ranks) of one training tell each other. A single process talks to nobody."""

import socket

import torch
from torch import distributed


def all_reduce_sum(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Sum of a float64 tensor over all ranks. A single process gets the tensor back."""
    if not distributed.is_initialized():
        return values
    values = values.to(device)
    distributed.all_reduce(values)
    return values.cpu()


def copy_from_first(model: torch.nn.Module) -> None:
    """Give the model of every rank the weights and buffers of rank 0's model."""
    if distributed.is_initialized():
        for values in model.state_dict().values():
            distributed.broadcast(values, 0)


def free_port() -> int:
    """A port of this machine that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
