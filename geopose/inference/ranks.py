"""Several processes that share one job, as torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed


@dataclass(frozen=True)
class Ranks:
    """Number of this process and number of processes: 0 and 1 without torchrun."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process prints messages and writes the files that exist once per job."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have called this."""
        if self.world_size > 1:
            distributed.barrier()


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """The ranks of this job. On a machine with GPUs, each process uses its own GPU as torch's current device.

    A process that fails ends with its error message, and torchrun stops the others.
    """
    ranks = Ranks(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    if ranks.world_size == 1:
        yield ranks
        return
    # The processes only wait for each other over this group, and one share of the tiles may take long.
    distributed.init_process_group("gloo", timeout=timedelta(days=7))
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
