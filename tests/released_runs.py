"""All released runs that the repository has ever held, predicted by today's code and drawn as curves.

Run by hand, not by `make test`: python -m tests.released_runs --real DIR --synthetic DIR. The runs come from the
history of version control. Each predicts two folders, in one view at the sizes of SIZES. Both folders have images in
test/ and their labels in truth/. Images of --real are scored one by one, and tiles of --synthetic, a competition
folder, by city.
The results are docs/released_runs.csv and docs/released_runs.png. Runs whose settings today's code does not know are
left out. After an interruption the same command goes on.
"""

import argparse
import glob
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from geopose.cli import UserError
from geopose.io.files import write_bytes
from geopose.runs.compare import run_process
from geopose.runs.folder import run_config
from geopose.scoring.evaluate import evaluate

RELEASED = "runs/synthetic_lite0"
SIZES = ("--tta", "none", "--zooms", "1", "0.5", "--zoom-weights", "2", "1")
ROOT = Path(__file__).parents[1]


def git(*words: str) -> bytes:
    """The output of a git command."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def extract_runs(work: Path) -> dict[str, Path]:
    """Commit -> run folder of every released run that today's code can read, the oldest first."""
    commits = git("log", "--reverse", "--format=%h", "--", f"{RELEASED}/fold0/checkpoints").decode().split()
    runs = {}
    for commit in commits:
        run = work / commit / RELEASED / "fold0"
        if not run.exists():
            with tarfile.open(fileobj=io.BytesIO(git("archive", commit, RELEASED))) as archive:
                archive.extractall(work / commit, filter="data")
        try:
            run_config(run)
        except UserError as error:
            print(f"{commit} is left out: {error}", file=sys.stderr)
            continue
        runs[commit] = run
    return runs


def measure(commit: str, run: Path, real: Path, synthetic: Path, work: Path) -> dict[str, str | float]:
    """A row of the table: scores of one run on both folders. Predictions are kept in the folder work."""
    images = glob.escape(str(real / "test")) + "/*"
    run_process("predict", "--images-from", images, "--runs", run, "--out", work / "real", *SIZES)
    run_process("predict", "--data", synthetic, "--runs", run, "--out", work / "synthetic.tar.gz", *SIZES)
    by_image = pd.DataFrame(evaluate(real / "truth", work / "real", each_image=True).scores["cities"].values())
    tiles = evaluate(synthetic / "truth", work / "synthetic.tar.gz").scores
    return {
        "commit": commit,
        "date": git("show", "--no-patch", "--format=%cs", commit).decode().strip(),
        "real_agl_r2": by_image.agl_r2.mean(),
        "real_vflow_r2": by_image.vflow_r2.mean(),
        "real_slope": by_image.agl_slope.mean(),
        "real_direction_error_deg_median": by_image.angle_error_deg.median(),
        "real_direction_error_deg_mean": by_image.angle_error_deg.mean(),
        "synthetic_r2": tiles["final_r2"],
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.released_runs", description=__doc__.split("\n")[0])
    parser.add_argument("--real", required=True, type=Path, metavar="DIR", help="real images with labels")
    parser.add_argument("--synthetic", required=True, type=Path, metavar="DIR", help="synthetic tiles with labels")
    parser.add_argument("--work", default=Path("runs/released"), type=Path, metavar="DIR", help="folder for the work")
    parser.add_argument("--out", default=Path("docs"), type=Path, metavar="DIR", help="folder for table and picture")
    args = parser.parse_args()
    rows = []
    for commit, run in extract_runs(args.work).items():
        rows.append(measure(commit, run, args.real, args.synthetic, args.work / commit))
        print(rows[-1], flush=True)
    result = pd.DataFrame(rows)
    write_bytes(args.out / "released_runs.csv", result.to_csv(index=False, float_format="%.4f").encode())
    draw(result, args.out / "released_runs.png")
