"""Where the figures of a table come from: one line for the text above it."""

import json
from collections.abc import Iterable
from pathlib import Path

from geopose.bench.table import describe_machine
from geopose.io.names import ARGUMENTS_FILE
from geopose.training.manifest import git_commit


def describe_origin(data: str | Path, trained_by: Iterable[str | None] = ()) -> str:
    """Commit of the code, generator of a rendered data folder, and machine.

    trained_by: git_commit in the manifests of the runs that the table is about. Other code than today's may have
    trained them, so these commits, each once, replace today's.
    """
    arguments = Path(data) / ARGUMENTS_FILE
    tiles = f"generator {json.loads(arguments.read_text())['generator']}" if arguments.exists() else f"data of {data}"
    commits = dict.fromkeys(map(shorten, list(trained_by) or [git_commit()]))
    return f"Commit {' and '.join(commits)}, {tiles}, {describe_machine()}."


def shorten(commit: str | None) -> str:
    """What git_commit returned, for a reader."""
    commit, changes, _ = (commit or "none").partition("+")
    return f"{commit[:12]}{' with changes' if changes else ''}"
