"""Device and precision by name, explicit everywhere."""

import time
from contextlib import AbstractContextManager
from functools import cache

import torch
from torch.nn import functional

from geopose.cli import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_PAYS = 1.1  # times as fast as float32 a processor must be in bfloat16


def pick_device(name: str) -> torch.device:
    """auto (CUDA when there is one), cpu or cuda."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {name}: torch sees no GPU here; use auto or cpu")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16 as named; auto is bf16 where the device is faster in it, else fp32.

    fp16 on a CPU is refused: it would silently run in fp32. bf16 works on any CPU but is slow on one without
    instructions for it, and on some that have them.
    """
    if name == "auto":
        return "bf16" if is_faster_in_bf16(device) else "fp32"
    if name not in DTYPES:
        raise UserError(f"precision {name} is unknown; there are auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise UserError("precision fp16 needs a GPU; use auto, fp32 or bf16 on a CPU")
    return name


def is_faster_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 and, if it is a CPU, a convolution gains by them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    able = torch.cpu.get_capabilities()
    has_instructions = any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "sve_bf16"))
    return has_instructions and bf16_speedup() >= BF16_PAYS


@cache
def bf16_speedup() -> float:
    """How many times as fast as in float32 this processor convolves in bfloat16: best of several turns, once a process.

    Measured, since having the instructions tells little: an Intel Xeon that has AVX-512's and no AMX takes 1.7 times
    as long in bfloat16.
    """
    seconds = {torch.float32: [], torch.bfloat16: []}
    with torch.inference_mode():
        for _ in range(6):
            for dtype, times in seconds.items():
                image = torch.ones(4, 64, 64, 64, dtype=dtype).contiguous(memory_format=torch.channels_last)
                weight = torch.ones(64, 64, 3, 3, dtype=dtype)
                start = time.perf_counter()
                functional.conv2d(image, weight)
                times.append(time.perf_counter() - start)
    return min(seconds[torch.float32]) / min(seconds[torch.bfloat16])


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast to a precision that pick_precision gave; off for fp32."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")
