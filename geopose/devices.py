"""Device and precision by name, explicit everywhere."""

from contextlib import AbstractContextManager

import torch

from geopose.cli import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """auto (CUDA when there is one), cpu or cuda."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {name}: torch sees no GPU here; use auto or cpu")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16 as named; auto is bf16 where the device computes in it, else fp32.

    fp16 on a CPU is refused: it would silently run in fp32. bf16 works on any CPU but is slow on one without
    instructions for it.
    """
    if name == "auto":
        return "bf16" if computes_in_bf16(device) else "fp32"
    if name not in DTYPES:
        raise UserError(f"precision {name} is unknown; there are auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise UserError("precision fp16 needs a GPU; use auto, fp32 or bf16 on a CPU")
    return name


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "sve_bf16"))


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast to a precision that pick_precision gave; off for fp32."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")
