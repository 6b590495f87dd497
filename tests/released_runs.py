"""All released runs that the repository has ever held, predicted by today's code and drawn as curves.

Run by hand, not by `make test`: python -m tests.released_runs --real DIR --synthetic DIR. The runs come from the
history of version control. Each predicts two folders, in one view at the sizes of SIZES. Both folders have images in
test/ and their labels in truth/. Images of --real are scored one by one, and tiles of --synthetic, a competition
folder, by city.
The results are docs/released_runs.csv and docs/released_runs.png. Runs that today's code cannot read or predict are
left out. After an interruption the same command goes on: what today's commit has predicted is not predicted again.
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from geopose.cli import UserError, run_command
from geopose.io.files import make_folder, write_bytes
from geopose.io.tables import truth_folder
from geopose.runs.compare import predict
from geopose.scoring.evaluate import evaluate_complete
from geopose.training.manifest import git_commit

RELEASED = "runs/synthetic_lite0"
SIZES = ("--tta", "none", "--zooms", "1", "0.5", "--zoom-weights", "2", "1")
ROOT = Path(__file__).parents[1]


def git(*words: str) -> bytes:
    """The output of a git command."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def list_commits() -> list[str]:
    """The commits that changed the weights of the released run, the oldest first."""
    return git("log", "--reverse", "--format=%h", "--", f"{RELEASED}/fold0/checkpoints").decode().split()


def extract_run(commit: str, work: Path) -> Path:
    """The released run of a commit, extracted completely or not at all into the folder work."""
    out = work / commit
    if not out.exists():
        make_folder(work)
        with tempfile.TemporaryDirectory(prefix=f".{commit}-", dir=work) as folder:
            with tarfile.open(fileobj=io.BytesIO(git("archive", commit, RELEASED))) as archive:
                archive.extractall(folder, filter="data")
            (Path(folder) / RELEASED / "fold0").rename(out)
    return out


def todays_commit() -> str:
    """The commit of today's code. Raises UserError when the code differs from it."""
    commit = git_commit() or "none"
    if "+" in commit:
        raise UserError("the working tree has changes, but predictions are kept by commit; commit or stash the changes")
    return commit[:12]


def measure(commit: str, real: tuple[Path, Path], synthetic: tuple[Path, Path]) -> dict[str, str | float]:
    """A row of the table: scores of one released run. real and synthetic: a folder of labels, and predictions."""
    by_image = pd.DataFrame(evaluate_complete(*real, each_image=True)["cities"].values())
    return {
        "commit": commit,
        "date": git("show", "--no-patch", "--format=%cs", commit).decode().strip(),
        "real_agl_r2": by_image.agl_r2.mean(),
        "real_vflow_r2": by_image.vflow_r2.mean(),
        "real_slope": by_image.agl_slope.mean(),
        "real_direction_error_deg_median": by_image.angle_error_deg.median(),
        "real_direction_error_deg_mean": by_image.angle_error_deg.mean(),
        "synthetic_r2": evaluate_complete(*synthetic)["final_r2"],
    }


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw heights, flow and direction errors over the released runs."""
    figure, (scores, errors) = plt.subplots(1, 2, figsize=(13, 4.2), layout="constrained")
    curves = {
        scores: {"real_agl_r2": "real images: AGL R2", "real_slope": "real images: slope of heights",
                 "real_vflow_r2": "real images: VFLOW R2", "synthetic_r2": "synthetic tiles: score"},
        errors: {"real_direction_error_deg_median": "median", "real_direction_error_deg_mean": "mean"},
    }  # fmt: skip
    for axes, lines in curves.items():
        for column, label in lines.items():
            axes.plot(table.commit, table[column], marker="o", label=label)
        axes.set_xlabel("commit of the released run, the oldest on the left")
        axes.tick_params("x", rotation=45, labelsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    scores.set(title="Heights and flow", ylim=(-0.5, 1.0))
    errors.set(title="Direction error of real images, degrees", ylim=(0, None))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Measure all released runs, write the table and draw it."""
    parser = argparse.ArgumentParser(prog="python -m tests.released_runs", description=__doc__.split("\n")[0])
    parser.add_argument("--real", required=True, type=Path, metavar="DIR", help="real images with labels")
    parser.add_argument("--synthetic", required=True, type=Path, metavar="DIR", help="synthetic tiles with labels")
    parser.add_argument("--work", default=Path("runs/released"), type=Path, metavar="DIR", help="folder for the work")
    parser.add_argument("--out", default=Path("docs"), type=Path, metavar="DIR", help="folder for table and picture")
    args = parser.parse_args()
    make_folder(args.out)
    truths = [truth_folder(folder) for folder in (args.real, args.synthetic)]
    today, rows = todays_commit(), []
    for commit in list_commits():
        run, kept = extract_run(commit, args.work), args.work / f"{commit}-by-{today}"
        try:
            predicted = [predict(run, getattr(args, name), kept / name, SIZES) for name in ("real", "synthetic")]
        except UserError as error:
            print(f"{commit} is left out: {error}", file=sys.stderr)
            continue
        rows.append(measure(commit, *zip(truths, predicted, strict=True)))
        print(rows[-1], flush=True)
    if not rows:
        raise UserError("no released run could be predicted; the reasons are above")
    result = pd.DataFrame(rows)
    write_bytes(args.out / "released_runs.csv", result.to_csv(index=False, float_format="%.4f").encode())
    draw(result, args.out / "released_runs.png")


if __name__ == "__main__":
    run_command(main)
