"""Tags of a scene's heights: what they were made by, and the pose that belongs to them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from geopose.version import VERSION

PREFIX = "GEOPOSE_"


def scene_tags(pose: Mapping[str, object], runs: Iterable[str | Path]) -> dict[str, str]:
    """Tags GEOPOSE_VERSION, GEOPOSE_RUNS, and one for each entry of the scene's <stem>_VFLOW.json."""
    facts = {"version": VERSION, "runs": " ".join(map(str, runs)), **pose}
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in facts.items()}
