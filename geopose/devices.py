"""Device and precision by name, so that both are explicit everywhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch.nn import functional

from geopose.cli import UserError

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AMPERE = (8, 0)  # the first GPUs that have TF32 and bfloat16
BF16_PAYS = 1.1  # minimum speed of bfloat16 relative to float32 for auto to choose it


def pick_device(name: str) -> torch.device:
    """auto (CUDA when there is one), cpu or cuda."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {name} is unknown; there are auto, cpu, cuda")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name}: torch sees no GPU here; use auto or cpu")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """fp32, tf32, bf16 or fp16 as named. auto is bf16 where the device is faster with it, otherwise fp32.

    tf32 is float32 with products in TF32. tf32 and fp16 raise UserError where torch would silently run them in fp32: on
    a CPU, and tf32 on an old GPU. bf16 runs on any CPU, but it is slow without special instructions, and on some CPUs
    also with them.
    """
    if name == "auto":
        return "bf16" if is_faster_in_bf16(device) else "fp32"
    if name not in DTYPES:
        raise UserError(f"precision {name} is unknown; there are auto, {', '.join(DTYPES)}")
    if name in ("tf32", "fp16") and device.type == "cpu":
        raise UserError(f"precision {name} needs a GPU; use auto, fp32 or bf16 on a CPU")
    if name == "tf32" and torch.cuda.get_device_capability(device) < AMPERE:
        raise UserError("precision tf32 needs a GPU of Ampere or later; use fp32 or fp16")
    return name


def is_faster_in_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 instructions and, on a CPU, whether a convolution is faster with them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= AMPERE
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


def move_batch(batch: dict, device: torch.device) -> dict:
    """A batch with its tensors on a device; other values stay as they are."""
    return {
        key: value.to(device, non_blocking=True) if torch.is_tensor(value) else value for key, value in batch.items()
    }


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Compute in a precision that pick_precision returned, and restore torch's settings at the end.

    fp32 is true float32, also on a GPU. A backward pass after the end follows the process's own setting, see
    allow_tf32.
    """
    half = precision in ("bf16", "fp16")
    with tf32(precision == "tf32"), torch.autocast(device.type, dtype=DTYPES[precision], enabled=half):
        yield


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 as allow_tf32 does, and restore the settings at the end."""
    before = [setting.allow_tf32 for setting in _tf32_settings()]
    try:
        allow_tf32(allowed)
        yield
    finally:
        for setting, value in zip(_tf32_settings(), before, strict=True):
            setting.allow_tf32 = value


def allow_tf32(allowed: bool) -> None:
    """Allow or forbid TF32 for convolutions and matrix products on a GPU, from now on in this process.

    In TF32 the factors of a product keep 10 bits after the point instead of float32's 23. PyTorch's default allows it
    for convolutions and forbids it for matrix products. A CPU is not affected.
    """
    for setting in _tf32_settings():
        setting.allow_tf32 = allowed


def _tf32_settings() -> tuple:
    return torch.backends.cudnn, torch.backends.cuda.matmul
