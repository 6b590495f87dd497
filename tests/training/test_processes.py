"""How many processes can train, and what is set for them."""

import pytest
import torch
from helpers import config_of

from geopose.cli import UserError
from geopose.training.processes import check_processes
from geopose.training.runner import train

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_more_processes_than_validation_tiles_are_refused(tiny_data, tmp_path):
    with pytest.raises(UserError, match="5 processes for 4 validation tiles: each needs a tile"):
        train(config_of(tiny_data, tmp_path / "run", "train.gpus=5"))
    check_processes(4, CPU, 4)


def test_either_torchrun_or_the_setting_starts_the_processes(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"torchrun started 2 processes and train.gpus=2 would start more; use one"):
        train(config_of(tiny_data, tmp_path / "run", "train.gpus=2"))
    check_processes(1, CPU, 2)
    with pytest.raises(UserError, match="2 processes for 1 validation tiles"):
        check_processes(1, CPU, 1)


def test_each_process_has_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_processes(2, GPU, 9)
    with pytest.raises(UserError, match=r"train.gpus=3: torch sees 2 GPUs here"):
        check_processes(3, GPU, 9)
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")  # two machines
    with pytest.raises(UserError, match="torchrun with 3 processes: torch sees 2 GPUs here"):
        check_processes(1, GPU, 9)
    check_processes(1, CPU, 9)
