"""Device and precision by name, so that both are explicit everywhere."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import torch
from torch.nn import functional

from geopose.cli import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_PAYS = 1.1  # minimum speed of bfloat16 relative to float32 for auto to choose it


def pick_device(name: str) -> torch.device:
    """auto (CUDA when there is one), cpu or cuda."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {name}: torch sees no GPU here; use auto or cpu")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16 as named. auto is bf16 where the device is faster with it, otherwise fp32.

    fp16 on a CPU raises UserError, because torch would silently run it in fp32. bf16 runs on any CPU, but it is slow
    without special instructions, and on some CPUs also with them.
    """
    if name == "auto":
        return "bf16" if is_faster_in_bf16(device) else "fp32"
    if name not in DTYPES:
        raise UserError(f"precision {name} is unknown; there are auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise UserError("precision fp16 needs a GPU; use auto, fp32 or bf16 on a CPU")
    return name


def is_faster_in_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 instructions and, on a CPU, whether a convolution is faster with them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    able = torch.cpu.get_capabilities()
    has_instructions = any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "sve_bf16"))
    return has_instructions and bf16_speedup() >= BF16_PAYS


@cache
def bf16_speedup() -> float:
    """Speed of a convolution in bfloat16 relative to float32 on this CPU. Measured once per process, best of six.

    Instructions alone do not decide it: an Intel Xeon with AVX-512 bf16 and without AMX takes 1.7 times as long in
    bfloat16.
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
    """Autocast to a precision that pick_precision returned. Disabled for fp32."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 for convolutions and matrix products on a GPU, and restore the settings at the end.

    In TF32 the factors of a product keep 10 bits after the point instead of float32's 23. PyTorch's default allows it
    for convolutions and forbids it for matrix products. A CPU is not affected.
    """
    settings = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = allowed
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.allow_tf32 = value
