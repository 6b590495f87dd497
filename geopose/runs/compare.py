"""Compare variants of a training: `python -m geopose compare configs/ablation/lite0.yaml --data DIR --folds FILE`.

A list of variants is trained on one fold with the same budget. Each variant and seed is trained in its own process, and
finished trainings are skipped. Each run then predicts the test half. The scores go to a markdown page and a CSV table.
The data must include the truth of the test half.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from geopose.cli import Parser, UserError
from geopose.config import load_config
from geopose.io.files import write_bytes
from geopose.io.tables import truth_folder, write_csv
from geopose.runs.folder import read_manifest, run_config
from geopose.runs.origin import describe_origin
from geopose.scoring.evaluate import evaluate

COLUMN_NOTES = """Each row is the mean over the seeds of one variant:

- **score**, and its range over the seeds: the challenge's R2 on the test half, half of it for heights (AGL R2) and half
  for flow (VFLOW R2); the last columns give it by city;
- **unexplained**: 1 - score, divided by 1 - score of the first variant; 2 means twice as much unexplained variance;
- **angle error**: mean error of the direction of the lean; a random direction has 90°;
- **validation R2**: of the best checkpoint, on the validation fold;
- **steps, crops/s, seconds**: optimizer steps, crops per second, and duration of the training.
"""
PLAN_KEYS = {"config", "budget", "predict", "seeds", "variants"}
VARIANT_KEYS = {"config", "settings"}


@dataclass(frozen=True)
class Job:
    """One training. settings are the variant's own; overrides are all key=value settings of the training."""

    variant: str
    config: str
    settings: list[str]
    seed: int
    run_dir: Path
    overrides: list[str]


def main() -> int:
    """Train, predict and score all variants, write the tables and print the markdown page."""
    parser = Parser(
        "Train a list of variants with the same budget on the same fold, and write a table of their scores.",
        "python -m geopose compare configs/ablation/lite0.yaml --data DIR --folds DIR/folds-stratified10.csv",
    )
    parser.add_argument(
        "list", metavar="LIST", help="YAML file with config, budget and variants; optional: seeds and predict"
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="competition folder with truth/")
    parser.add_argument("--folds", required=True, metavar="FILE", help="CSV of folds that 'make folds' wrote")
    parser.add_argument("--fold", type=int, default=0, metavar="K", help="the fold that validates")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder for the runs (default: runs/<folder of LIST>)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PREFIX",
        help="the tables are PREFIX.md and PREFIX.csv (default: docs/<folder of LIST>)",
    )
    args = parser.parse_args()

    plan, kind = read_plan(args.list), Path(args.list).resolve().parent.name
    truth_folder(args.data)  # data that cannot be scored are refused before anything is trained
    data = [f"data.root={args.data}", f"data.folds={args.folds}", f"data.fold={args.fold}"]
    jobs = list_jobs(plan, data, args.runs or Path("runs") / kind, f"fold{args.fold}")
    for job in jobs:
        load_config(job.config, job.overrides)  # a typo in any variant is reported before training starts
    table = pd.DataFrame([run_job(job, args.data, plan["predict"]) for job in jobs])
    out = args.out or Path("docs") / kind
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(table, out.with_suffix(".csv"))
    page = f"# Variants of {args.list}\n\n{describe_origin(args.data)}\n\n{format_table(table)}\n{COLUMN_NOTES}"
    write_bytes(out.with_suffix(".md"), page.encode())
    print(page)
    return 0


def read_plan(path: str | Path) -> dict:
    """The list of variants, completed with the defaults of its optional parts.

    config is a path, and budget is the list of settings for all variants. variants maps a name to its settings, or to
    {config, settings} for a variant with another config. Optional are predict, flags of the predict command (default:
    --tta none), and seeds (default: 42).
    """
    if not Path(path).exists():
        raise UserError(f"{path}: no such list of variants; for example, use configs/ablation/lite0.yaml")
    plan = {"predict": ["--tta", "none"], "seeds": [42]} | OmegaConf.to_container(OmegaConf.load(path))
    if set(plan) != PLAN_KEYS:
        odd = ", ".join(sorted(set(plan) ^ PLAN_KEYS))
        raise UserError(f"{path}: missing or unknown keys {odd}; see configs/ablation/lite0.yaml")
    for name, variant in plan["variants"].items():
        if isinstance(variant, list):
            variant = {"settings": variant}
        unknown = ", ".join(sorted(set(variant) - VARIANT_KEYS))
        if unknown:
            raise UserError(f"{path}: {name} has unknown keys {unknown}; give config and settings")
        plan["variants"][name] = {"config": plan["config"], "settings": []} | variant
    return plan


def list_jobs(plan: dict, data: list[str], runs: Path, fold: str) -> list[Job]:
    """One job per seed and variant. If there are several seeds, the run's folder includes the seed."""
    jobs = []
    for seed in plan["seeds"]:
        for name, variant in plan["variants"].items():
            folder = name if len(plan["seeds"]) == 1 else f"{name}-seed{seed}"
            run_dir = runs / folder / fold
            common = [*data, f"run.dir={run_dir}", f"seed={seed}", *plan["budget"]]
            overrides = [*common, *variant["settings"]]
            jobs.append(Job(name, variant["config"], variant["settings"], seed, run_dir, overrides))
    return jobs


def run_job(job: Job, data: str, predict_flags: list[str]) -> dict:
    """Train and predict a job, each in its own process, and return its row of the table. Finished work is skipped."""
    run_process("train", job.config, *job.overrides)
    tarball = job.run_dir.parent / "submission.tar.gz"
    run_process("predict", "--data", data, "--runs", job.run_dir, "--out", tarball, *predict_flags)
    return describe(job, evaluate(truth_folder(data), tarball).scores)


def run_process(*words) -> None:
    """Run `python -m geopose WORDS` and show its output. Raises UserError when it fails."""
    command = [sys.executable, "-m", "geopose", *map(str, words)]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"'geopose {' '.join(map(str, words))}' failed; its error message is above")


def describe(job: Job, scores: dict) -> dict:
    """One row of the table."""
    manifest, by_city = read_manifest(job.run_dir), scores["cities"]
    cities = by_city.values()
    crop_px = run_config(job.run_dir).augment.crop_px

    def mean(key: str) -> float:
        return sum(city[key] for city in cities) / len(cities)

    return {
        "variant": job.variant,
        "settings": " ".join(job.settings),
        "seed": job.seed,
        "score": scores["final_r2"],
        "agl_r2": mean("agl_r2"),
        "vflow_r2": mean("vflow_r2"),
        "angle_error_deg": mean("angle_error_deg"),
        "validation_r2": manifest["checkpoints"][0]["r2"],
        "optimizer_steps": manifest["optimizer_steps"],
        "crops_per_second": manifest["crops_seen"] / manifest["seconds"],
        "megapixels_seen": manifest["crops_seen"] * crop_px**2 / 1e6,
        "seconds": manifest["seconds"],
        **{f"r2_{name}": city["r2"] for name, city in by_city.items()},
    }


def format_table(table: pd.DataFrame) -> str:
    """The variants as a markdown table of means over their seeds. COLUMN_NOTES explains it."""
    columns = ("score", "range", "unexplained", "AGL R2", "VFLOW R2", "angle error", "validation R2", "steps")
    cities = [column for column in table if column.startswith("r2_")]
    columns += ("crops/s", "seconds", *(city.removeprefix("r2_") for city in cities))
    lines = [f"| variant | settings | {' | '.join(columns)} |", "|" + "---|" * (2 + len(columns))]
    first = table[table.variant == table.variant.iloc[0]].score.mean()
    for name, rows in table.groupby("variant", sort=False):
        mean = rows.mean(numeric_only=True)
        settings = f"`{rows.settings.iloc[0]}`" if rows.settings.iloc[0] else ""
        spread = f"{rows.score.min():.4f} to {rows.score.max():.4f}" if len(rows) > 1 else "one seed"
        lines.append(
            f"| {name} | {settings} | {mean.score:.4f} | {spread} | {(1 - mean.score) / (1 - first):.2f} | "
            f"{mean.agl_r2:.4f} | {mean.vflow_r2:.4f} | {mean.angle_error_deg:.1f}° | {mean.validation_r2:.4f} | "
            f"{mean.optimizer_steps:.0f} | {mean.crops_per_second:.1f} | {mean.seconds:.0f} | "
            f"{' | '.join(f'{mean[city]:.4f}' for city in cities)} |"
        )
    return "\n".join(lines) + "\n"
