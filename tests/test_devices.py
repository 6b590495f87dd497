"""Devices and precisions by name."""

import pytest
import torch

from geopose import devices
from geopose.cli import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "speedup", "picked"),
    [
        ({"avx512_bf16": True}, 2.0, "bf16"),
        ({"avx512_bf16": True}, 0.6, "fp32"),
        ({"avx2": True}, 2.0, "fp32"),
    ],
    ids=["faster", "slower though it has instructions", "emulated"],
)
def test_auto_is_bf16_only_where_the_processor_is_faster_in_it(monkeypatch, able, speedup, picked):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(devices, "bf16_speedup", lambda: speedup)
    assert devices.pick_precision("auto", CPU) == picked
    assert devices.pick_precision("bf16", CPU) == "bf16"
    assert devices.pick_precision("fp32", CPU) == "fp32"


def test_the_speed_of_bf16_is_measured_once_and_draws_no_random_number():
    devices.bf16_speedup.cache_clear()
    state = torch.get_rng_state()
    speedup = devices.bf16_speedup()
    assert 0 < speedup < 100
    assert devices.bf16_speedup() == speedup
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="precision half is unknown; there are auto, fp32, tf32, bf16, fp16"):
        devices.pick_precision("half", CPU)
    for name in ("tf32", "fp16"):
        with pytest.raises(UserError, match=f"{name} needs a GPU"):
            devices.pick_precision(name, CPU)


@pytest.mark.parametrize("name", ["gpu", "cuda:7", "mps", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(UserError, match=f"device {name} is unknown; there are auto, cpu, cuda"):
        devices.pick_device(name)


def test_tf32_is_refused_where_it_would_be_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(UserError, match="tf32 needs a GPU of Ampere or later"):
        devices.pick_precision("tf32", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert devices.pick_precision("tf32", torch.device("cuda")) == "tf32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_said():
    with pytest.raises(UserError, match="sees no GPU"):
        devices.pick_device("cuda")
    assert devices.pick_device("auto") == CPU


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_precision(precision, dtype):
    with devices.autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def settings() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_only_tf32_computes_in_tf32(precision):
    """Whatever torch's defaults are: fp32 is float32 on every device."""
    with devices.tf32(True):
        with devices.autocast(CPU, precision):
            assert settings() == ((precision == "tf32"),) * 2
        assert settings() == (True, True)


def test_tf32_is_set_for_a_while():
    before = settings()
    with devices.tf32(True):
        assert settings() == (True, True)
    with pytest.raises(ZeroDivisionError), devices.tf32(False):
        assert settings() == (False, False)
        raise ZeroDivisionError
    assert settings() == before
