"""What a result was made of: code, packages, data, machine, command."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

from geopose.io.names import ARGUMENTS_FILE
from geopose.io.tables import read_train_table
from geopose.runs.folder import digest_folder

PACKAGES = ("torch", "catalyst", "pytorch-toolbelt", "timm", "albumentations", "numpy", "opencv-python", "rasterio")


def describe_environment() -> dict:
    """Commit, package versions, machine and command line of this process."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def git_commit() -> str | None:
    """Commit of the code, with '+changes' when the tree differs from it; None outside a git checkout."""
    root = Path(__file__).parents[2]
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def fingerprint_data(root: str) -> str:
    """SHA-256 over the folder's tables and the names and sizes of its training files.

    For a rendered folder, its arguments replace the sizes: they determine all files, and processors with other
    instructions round a few pixels differently.
    """
    arguments = Path(root) / ARGUMENTS_FILE
    if arguments.exists():
        return digest_folder(root, "geopose_train.csv", [arguments.read_text()])
    table = read_train_table(root)
    files = map(Path, [*table.rgb, *table.agl, *table.vflow])
    return digest_folder(root, "geopose_train.csv", (f"{path.name} {path.stat().st_size}\n" for path in files))


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()
