"""What all trainings share: the device and the processes of a Catalyst runner, and its batches."""

import torch
from catalyst import dl
from torch.multiprocessing import ProcessRaisedException

from geopose.cli import UNWRITABLE, UserError, describe_full_gpu, describe_unwritable
from geopose.devices import move_batch
from geopose.training.processes import avoid_missing_links, free_port


class EngineRunner(dl.Runner):
    """A Catalyst runner on a named device and number of processes.

    A subclass sets device (a torch.device), precision and gpus (processes on this machine). Its loader "train" has a
    sampler with an epoch, and its batches are dictionaries.
    """

    device: torch.device
    precision: str
    gpus: int

    def run(self):
        """Train. A UserError of one of several processes is raised here without the traceback of the others."""
        try:
            return super().run()
        except ProcessRaisedException as error:
            _, found, message = str(error).strip().splitlines()[-1].partition("UserError: ")
            if not found:
                raise
            raise UserError(message) from None

    def _run_local(self, *place) -> None:
        """Train in one process. What a user can mend becomes a UserError, since of others only a traceback gets out."""
        try:
            super()._run_local(*place)
        except torch.OutOfMemoryError as error:
            raise UserError(describe_full_gpu(error)) from None
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise UserError(describe_unwritable(error)) from None

    def get_engine(self):
        # Forward passes apply autocast explicitly. In fp16 the engine adds the gradient scaler, and accelerate wraps
        # the model's forward in autocast once more.
        precision = "fp16" if self.precision == "fp16" else "no"
        if self.device.type == "cuda":
            avoid_missing_links()
        if self.gpus > 1:
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            return dl.DistributedDataParallelEngine(
                port=free_port(),  # Catalyst's default, 2112, allows one training per machine
                num_node_workers=self.gpus,
                process_group_kwargs={"backend": backend},
                cpu=self.device.type == "cpu",
                mixed_precision=precision,
            )
        return (dl.CPUEngine if self.device.type == "cpu" else dl.GPUEngine)(mixed_precision=precision)

    def _setup_loaders(self) -> None:
        # Catalyst's version lets accelerate shard the loaders again and pad the validation tiles.
        self.loaders = self.get_loaders()

    def on_epoch_start(self, runner):
        super().on_epoch_start(runner)
        self.loaders["train"].sampler.epoch = self.epoch_step

    def on_batch_start(self, runner):
        self.batch = move_batch(self.batch, self.engine.device)
        super().on_batch_start(runner)
