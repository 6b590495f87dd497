"""The table of `geopose compare`: the scores of each variant, and what is missing."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from geopose.io.files import write_bytes
from geopose.io.tables import write_csv
from geopose.runs.folder import read_manifest, run_config
from geopose.runs.origin import describe_origin
from geopose.runs.plan import Job
from geopose.scoring.metrics import mean_score

COLUMNS = ("score", "range", "unexplained", "AGL R2", "VFLOW R2", "slope", "angle error", "validation R2")
COLUMNS += ("steps", "crops/s", "seconds")
COLUMN_NOTES = """Each row is the mean over the seeds of one variant. A variant that has not been scored is missing. The
commit above is that of the trainings, and the machine the one that scored them.

- **score**, and its range over the seeds: the challenge's R2 on the test half, half of it for heights (AGL R2) and half
  for flow (VFLOW R2); the last columns give it by city;
- **unexplained**: 1 - score, divided by 1 - score of the first variant; 2 means twice as much unexplained variance;
- **slope** of predicted against true heights, sum(p t) / sum(t t); 0.5 means half as tall;
- **angle error**: mean error of the direction of the lean; a random direction has 90°;
- **validation R2**: of the best checkpoint, on the validation fold;
- **steps, crops/s, seconds**: optimizer steps, crops per second, and duration of the training.
"""


def describe_missing(job: Job) -> dict:
    """The row of a job that has not been scored."""
    return {
        "variant": job.variant.name,
        "settings": " ".join(job.variant.settings),
        "seed": job.seed,
        "score": math.nan,
        "commit": None,
    }


def describe(job: Job, scores: dict) -> dict:
    """One row of the table."""
    manifest, crop_px = read_manifest(job.run_dir), run_config(job.run_dir).augment.crop_px
    return describe_missing(job) | {
        "score": scores["final_r2"],
        "commit": manifest["git_commit"],
        **{key: mean_score(scores, key) for key in ("agl_r2", "vflow_r2", "angle_error_deg", "agl_slope")},
        "validation_r2": manifest["checkpoints"][0]["r2"],
        "optimizer_steps": manifest["optimizer_steps"],
        "crops_per_second": manifest["crops_seen"] / manifest["seconds"],
        "megapixels_seen": manifest["crops_seen"] * crop_px**2 / 1e6,
        "seconds": manifest["seconds"],
        **{f"r2_{name}": city["r2"] for name, city in scores["cities"].items()},
    }


@dataclass(frozen=True)
class Page:
    """Where the rows go: out.csv, and a page out.md with their means. data: the folder that the runs learn from."""

    out: Path
    title: str
    data: str

    @property
    def markdown(self) -> Path:
        return Path(f"{self.out}.md")

    @property
    def csv(self) -> Path:
        return Path(f"{self.out}.csv")

    def write(self, table: pd.DataFrame) -> None:
        """Write both files."""
        write_csv(table, self.csv)
        origin = describe_origin(self.data, table.commit.dropna())
        text = f"# {self.title}\n\n{origin}\n\n{format_table(table)}\n{COLUMN_NOTES}"
        write_bytes(self.markdown, text.encode())


def format_table(table: pd.DataFrame) -> str:
    """The variants as a markdown table of means over their seeds. COLUMN_NOTES explains it."""
    cities = [column for column in table if column.startswith("r2_")]
    names = [*COLUMNS, *(city.removeprefix("r2_") for city in cities)]
    lines = [f"| variant | settings | {' | '.join(names)} |", "|" + "---|" * (2 + len(names))]
    first = table[table.variant == table.variant.iloc[0]].score.mean()
    for name, rows in table.groupby("variant", sort=False):
        settings = f"`{rows.settings.iloc[0]}`" if rows.settings.iloc[0] else ""
        scored = rows[rows.score.notna()]
        cells = ["missing", *[""] * (len(names) - 1)]
        if len(scored):
            cells = [*format_figures(scored, first), *(f"{scored[city].mean():.4f}" for city in cities)]
            cells[1] += f", {len(rows) - len(scored)} missing" if len(scored) < len(rows) else ""
        lines.append(f"| {name} | {settings} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def format_figures(rows: pd.DataFrame, first: float) -> list[str]:
    """The cells of COLUMNS for the seeds of a variant. first: the score of the first variant."""
    mean = rows.mean(numeric_only=True)
    return [
        f"{mean.score:.4f}",
        f"{rows.score.min():.4f} to {rows.score.max():.4f}" if len(rows) > 1 else "one seed",
        f"{(1 - mean.score) / (1 - first):.2f}",
        f"{mean.agl_r2:.4f}",
        f"{mean.vflow_r2:.4f}",
        f"{mean.agl_slope:.2f}",
        f"{mean.angle_error_deg:.1f}°",
        f"{mean.validation_r2:.4f}",
        f"{mean.optimizer_steps:.0f}",
        f"{mean.crops_per_second:.1f}",
        f"{mean.seconds:.0f}",
    ]
