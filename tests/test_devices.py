"""Devices and precisions by name."""

import pytest
import torch

from geopose import devices
from geopose.cli import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize(("able", "picked"), [({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "fp32")])
def test_auto_is_bf16_only_where_the_processor_computes_in_it(monkeypatch, able, picked):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert devices.pick_precision("auto", CPU) == picked
    assert devices.pick_precision("bf16", CPU) == "bf16"
    assert devices.pick_precision("fp32", CPU) == "fp32"


def test_this_processor_tells_what_it_can():
    assert devices.pick_precision("auto", CPU) in ("fp32", "bf16")


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="precision half is unknown; there are auto, fp32, bf16, fp16"):
        devices.pick_precision("half", CPU)
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        devices.pick_precision("fp16", CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_said():
    with pytest.raises(UserError, match="sees no GPU"):
        devices.pick_device("cuda")
    assert devices.pick_device("auto") == CPU


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_precision(precision, dtype):
    with devices.autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
