"""How times and memory are measured."""

import cProfile
import pstats
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from geopose.cli import UserError


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    return alternate(function, repeats=repeats)[0]


def alternate(*functions: Callable[[], object], repeats: int) -> list[float]:
    """Median time of each function, in seconds.

    The functions are called alternately, so that a slow minute of the machine affects all of them equally.
    """
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [median(taken) for taken in times]


def time_shares(profile: cProfile.Profile, whole: str, parts: tuple[str, ...]) -> str:
    """The shares of a function's time that some functions inside it take, all given by their names.

    Raises UserError when the profile does not contain one of the names.
    """
    seconds = dict.fromkeys((whole, *parts), 0.0)
    for (_, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():
        if name in seconds:
            seconds[name] += cumulative
    missing = [name for name, taken in seconds.items() if not taken]
    if missing:
        raise UserError(f"the profile of {whole} has no function {missing[0]}; correct the name in geopose/bench")
    return ", ".join(f"{name.lstrip('_')} {seconds[name] / seconds[whole]:.0%}" for name in parts)


def peak_memory_mb() -> float:
    """The most memory that this process has held since it began, or since forget_peak, in MB. Only Linux tells it.

    Not getrusage: its figure includes what the parent process held when it started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def forget_peak() -> None:
    """Begin a new peak with the memory that this process holds now."""
    Path("/proc/self/clear_refs").write_text("5")
