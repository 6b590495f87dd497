"""The rows of the result, their numbers as text, and the table in Markdown."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Row:
    """One comparison of our way with the common way.

    ratio is the number that the goal applies to: the common way's time divided by ours, or ours divided by the common
    way's where the goal is an upper bound, or our own figure where there is no common way. None: there is no goal.
    """

    item: str
    ours: str
    common: str
    ratio: float | None
    goal: str


def format_table(rows: list[Row]) -> str:
    """The rows as a Markdown table, after a line that describes the machine."""
    lines = [f"Machine: {describe_machine()}.", "", "| what | ours | common | ratio | goal |", "|---|---|---|---|---|"]
    for r in rows:
        lines.append(f"| {r.item} | {r.ours} | {r.common} | {'' if r.ratio is None else f'{r.ratio:.3g}'} | {r.goal} |")
    return "\n".join(lines) + "\n"


def describe_machine() -> str:
    """Processor, number of cores, GPU if there is one, and version of PyTorch."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {gpu}torch {torch.__version__}"


def format_seconds(seconds: float) -> str:
    """A time with three digits, in milliseconds below one second."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def format_memory(megabytes: float) -> str:
    """Memory in whole MB."""
    return f"{megabytes:.0f} MB"


def format_file_size(path: str | Path) -> str:
    """The size of a file in MB."""
    return f"{Path(path).stat().st_size / 1e6:.2f} MB"
