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


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast to fp32 (off), bf16 or fp16. fp16 on a CPU is refused: it would silently run in fp32."""
    if precision not in DTYPES:
        raise UserError(f"precision {precision} is unknown; there are {', '.join(DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision fp16 needs a GPU; use fp32 or bf16 on a CPU")
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")
