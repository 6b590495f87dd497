"""Train a list of variants of one config under the same budget on the same fold, and tabulate their scores.

`python -m geopose.ablation configs/ablation/lite0.yaml --data DIR --folds FILE` trains what is not finished yet, each
variant in a process of its own, predicts the test half (without test-time augmentation) and writes a markdown and a
CSV table. DATA must have the truth of its test half.
"""

import subprocess
import sys
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from geopose import io
from geopose.cli import Parser, UserError, run_command
from geopose.config import load_config
from geopose.evaluate import evaluate
from geopose.runs import read_manifest, run_config

ROOT = Path(__file__).parent.parent


def main() -> int:
    parser = Parser(
        __doc__.split("\n")[0], "python -m geopose.ablation configs/ablation/lite0.yaml --data data/synthetic"
    )
    parser.add_argument("list", metavar="LIST", help="YAML with `config`, `budget` and `variants`: name -> settings")
    parser.add_argument("--data", required=True, metavar="DIR", help="competition folder with truth/")
    parser.add_argument("--folds", required=True, metavar="FILE", help="folds CSV")
    parser.add_argument("--fold", type=int, default=0, help="fold left out")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), metavar="DIR", help="where runs go")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/ablation"), metavar="PREFIX", help="tables: .md and .csv"
    )
    args = parser.parse_args()

    plan = read_plan(args.list)
    if not (Path(args.data) / "truth").is_dir():
        raise UserError(f"{args.data} has no truth/ folder to score against; use the synthetic data")
    rows = []
    for name, settings in plan["variants"].items():
        run_dir = args.runs / name / f"fold{args.fold}"
        data = [f"data.root={args.data}", f"data.folds={args.folds}", f"data.fold={args.fold}"]
        overrides = [*data, f"run.dir={run_dir}", *plan["budget"], *settings]
        load_config(plan["config"], overrides)  # a typo in a late variant shows before the first one trains
        rows.append((name, settings, run_dir, overrides))
    results = []
    for name, settings, run_dir, overrides in rows:
        run_script("train.py", plan["config"], *overrides)
        tarball = run_dir.parent / "submission.tar.gz"
        run_script("predict.py", "--data", args.data, "--runs", run_dir, "--out", tarball, "--tta", "none")
        results.append(describe(name, settings, run_dir, evaluate(Path(args.data) / "truth", tarball).scores))
    table = pd.DataFrame(results)
    table.insert(3, "change", table.score - table.score.iloc[0])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    io.write_csv(table, args.out.with_suffix(".csv"))
    markdown = format_table(table)
    io.write_bytes(args.out.with_suffix(".md"), markdown.encode())
    print(markdown)
    return 0


def read_plan(path: str | Path) -> dict:
    """The list of variants: config (a path), budget (settings of every variant), variants (name -> settings)."""
    if not Path(path).exists():
        raise UserError(f"{path}: no such list of variants; there is configs/ablation/lite0.yaml")
    plan = OmegaConf.to_container(OmegaConf.load(path))
    missing = {"config", "budget", "variants"} - set(plan)
    if missing:
        raise UserError(f"{path}: lacks {', '.join(sorted(missing))}; see configs/ablation/lite0.yaml")
    return plan


def run_script(script: str, *words) -> None:
    """Run one of the repository's scripts; what it prints is shown. Raises UserError when it fails."""
    command = [sys.executable, str(ROOT / script), *map(str, words)]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"{script} {' '.join(map(str, words))} failed; its own message stands above")


def describe(name: str, settings: list[str], run_dir: Path, scores: dict) -> dict:
    """One variant's row."""
    manifest, cities = read_manifest(run_dir), scores["cities"].values()
    crop_px = run_config(run_dir).augment.crop_px

    def mean(key: str) -> float:
        return sum(city[key] for city in cities) / len(cities)

    return {
        "variant": name,
        "settings": " ".join(settings),
        "score": scores["final_r2"],
        "agl_r2": mean("agl_r2"),
        "vflow_r2": mean("vflow_r2"),
        "angle_error_deg": mean("angle_error_deg"),
        "validation_r2": manifest["checkpoints"][0]["r2"],
        "optimizer_steps": manifest["optimizer_steps"],
        "megapixels_seen": manifest["crops_seen"] * crop_px**2 / 1e6,
        "seconds": manifest["seconds"],
    }


def format_table(table: pd.DataFrame) -> str:
    """The rows as a markdown table."""
    header = "| variant | settings | score | change | AGL R2 | VFLOW R2 | angle error | steps | seconds |"
    lines = [header, "|---|---|---|---|---|---|---|---|---|"]
    for row in table.itertuples():
        lines.append(
            f"| {row.variant} | {f'`{row.settings}`' if row.settings else ''} | {row.score:.4f} | {row.change:+.4f} | "
            f"{row.agl_r2:.4f} | {row.vflow_r2:.4f} | {row.angle_error_deg:.1f}° | {row.optimizer_steps} | "
            f"{row.seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_command(main)
