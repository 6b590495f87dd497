"""A warning about images whose resolution a run never saw in training."""

import sys
from collections.abc import Iterable
from pathlib import Path

from geopose.runs.folder import read_manifest

FAR = 1.5  # a gsd is far outside a range when it is beyond the nearer end by this factor


def warn_of_gsd(runs: Iterable[str | Path], name: str, gsd_m: float) -> None:
    """Print one line on standard error for each run whose training images had a very different gsd.

    name: the image. gsd_m: its metres per pixel. A run of an early version, whose manifest does not know the range, is
    passed over.
    """
    for run in runs:
        low_m, high_m = read_manifest(run).get("data", {}).get("gsd_m", (gsd_m, gsd_m))
        if not low_m / FAR <= gsd_m <= high_m * FAR:
            print(
                f"warning: {name}: gsd {gsd_m:g} m, but {run} was trained on {low_m:g} to {high_m:g} m, "
                "so heights and lean may be far off; check the gsd, or resample the image",
                file=sys.stderr,
            )
