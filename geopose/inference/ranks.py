"""Several processes on one job, as torchrun starts them: which one this is, and waiting for the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed


@dataclass(frozen=True)
class Ranks:
    """This process's number and how many there are; 0 and 1 outside torchrun."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes what there is one of."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.world_size > 1:
            distributed.barrier()


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """The ranks of this job. On a machine with GPUs, each process gets one as torch's current device.

    A process that fails ends with its message, and torchrun ends the others.
    """
    ranks = Ranks(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    if ranks.world_size == 1:
        yield ranks
        return
    # Nothing but waiting goes over this group, and a slow share of the tiles may take long.
    distributed.init_process_group("gloo", timeout=timedelta(days=7))
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
