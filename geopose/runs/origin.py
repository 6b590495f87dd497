"""Where the figures of a table come from: one line for the text above it."""

import json
from pathlib import Path

from geopose.bench.table import describe_machine
from geopose.io.names import ARGUMENTS_FILE
from geopose.training.manifest import git_commit


def describe_origin(data: str | Path) -> str:
    """Commit of the code, generator of a rendered data folder, and machine."""
    arguments = Path(data) / ARGUMENTS_FILE
    tiles = f"generator {json.loads(arguments.read_text())['generator']}" if arguments.exists() else f"data of {data}"
    commit, changes, _ = (git_commit() or "none").partition("+")
    return f"Commit {commit[:12]}{' with changes' if changes else ''}, {tiles}, {describe_machine()}."
