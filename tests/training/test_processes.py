"""How many processes can train, and what is set for them."""

import os

import pytest
import torch
from accelerate import PartialState
from helpers import config_of

from geopose.cli import UserError
from geopose.training.processes import check_processes
from geopose.training.runner import PoseRunner, train

LINKS = ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE")
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    """A machine that has two GPUs, by nvidia-smi and torch. Returns a function that sets their name."""

    def name_them(name: str) -> None:
        command = tmp_path / "nvidia-smi"
        command.write_text(f"#!/bin/sh\necho '2, {name}'\necho '2, {name}'\n")
        command.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for variable in LINKS:
        monkeypatch.setenv(variable, "")  # so that monkeypatch restores what the code sets
        monkeypatch.delenv(variable)
    yield name_them
    PartialState._reset_state()


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 4090", "NVIDIA H100"])
def test_cards_without_links_train_in_two_processes(two_gpus, tiny_data, tmp_path, monkeypatch, name):
    two_gpus(name)
    PoseRunner(config_of(tiny_data, tmp_path / "run", "train.gpus=2", "train.device=cuda")).get_engine()
    assert [variable in os.environ for variable in LINKS] == ["RTX" in name] * 2
    # What accelerate does in each process, also under torchrun: without the variables it raises NotImplementedError.
    for function, value in (("is_initialized", True), ("get_world_size", 2), ("get_rank", 0)):
        monkeypatch.setattr(torch.distributed, function, lambda value=value: value)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setenv("LOCAL_RANK", "0")
    PartialState._reset_state()
    assert PartialState().num_processes == 2


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
