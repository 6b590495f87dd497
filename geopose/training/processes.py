"""The processes (ranks) of one training: how many there are, and what they tell each other."""

import os
import socket

import torch
from accelerate.utils import check_cuda_p2p_ib_support
from torch import distributed

from geopose.cli import UserError


def avoid_missing_links() -> None:
    """Tell NCCL not to use links between GPUs where the cards have none: RTX 3090 and RTX 40.

    accelerate refuses to start several processes on these cards unless both variables are set.
    """
    if not check_cuda_p2p_ib_support():
        for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
            os.environ.setdefault(name, "1")


def check_processes(gpus: int, device: torch.device, valid_tiles: int | None = None) -> None:
    """Refuse numbers of processes that cannot train. gpus is train.gpus.

    Either train.gpus or torchrun starts the processes. Each needs its own GPU, unless it trains on the CPU, and at
    least one of the validation tiles, if there are any.
    """
    started, here = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if started > 1 and gpus > 1:
        raise UserError(f"torchrun started {started} processes and train.gpus={gpus} would start more; use one of both")
    source, wanted = (f"train.gpus={gpus}", gpus) if gpus > 1 else (f"torchrun with {here} processes", here)
    if device.type == "cuda" and wanted > torch.cuda.device_count():
        raise UserError(f"{source}: torch sees {torch.cuda.device_count()} GPUs here; start as many processes")
    processes = max(started, gpus)
    if valid_tiles is not None and valid_tiles < processes:
        raise UserError(
            f"{processes} processes for {valid_tiles} validation tiles: each needs a tile; start fewer processes"
        )


def all_reduce_sum(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Sum of a float64 tensor over all ranks. A single process gets the tensor back."""
    if not distributed.is_initialized():
        return values
    values = values.to(device)
    distributed.all_reduce(values)
    return values.cpu()


def value_of_first(value, device: torch.device):
    """Rank 0's value, on every rank."""
    if not distributed.is_initialized():
        return value
    values = [value]
    distributed.broadcast_object_list(values, 0, device=device)
    return values[0]


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


class RunningMeans:
    """Means over the batches of an epoch and all ranks, as the metrics of a loader."""

    def __init__(self, *names: str):
        self.names, self.sums = names, torch.zeros(len(names) + 1, dtype=torch.float64)

    def add(self, *values: torch.Tensor, count: int = 1) -> torch.Tensor:
        """Add the values of one batch, which counts count times. Returns them on the CPU, float64."""
        found = torch.stack([value.detach() for value in values]).double().cpu()
        self.sums += count * torch.cat([found, torch.ones(1, dtype=torch.float64)])
        return found

    def compute(self, device: torch.device) -> dict[str, float]:
        """The means. They are 0 without a batch."""
        sums = all_reduce_sum(self.sums, device)
        return dict(zip(self.names, (sums[:-1] / sums[-1].clamp(min=1)).tolist(), strict=True))
