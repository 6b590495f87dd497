"""How the released runs compare with each other: all that the repository has ever held, predicted by today's code.

`python -m tests.released_runs --real DIR --synthetic DIR --out docs` takes the runs from the history of version control
and predicts two folders with each of them: one view at the sizes of SIZES. Both have images in test/ and their labels
in truth/. Images of --real are scored one by one, tiles of --synthetic, a competition folder, by city. It writes
released_runs.csv and draws released_runs.png. Runs whose settings today's code does not know are left out. After an
interruption the same command goes on.
"""

import argparse
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from geopose.cli import UserError
from geopose.runs.compare import predict
from geopose.runs.folder import run_config
from geopose.scoring.evaluate import evaluate

RELEASED = "runs/synthetic_lite0"
SIZES = ["--tta", "none", "--zooms", "1", "0.5", "--zoom-weights", "2", "1"]
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
            runs[commit] = run
        except UserError as error:
            print(f"{commit} is left out: {error}", file=sys.stderr)
    return runs


def score(run: Path, test: Path, folder: Path, each_image: bool) -> dict:
    """Predict a folder of images or tiles with a run, and score it. Predictions are kept in another folder."""
    return evaluate(test / "truth", predict(run, test, folder, SIZES), each_image).scores


def compare(work: Path, real: Path, synthetic: Path) -> pd.DataFrame:
    """A row of scores for each released run. Work of both folders is kept in the folder work."""
    rows = []
    for commit, run in extract_runs(work).items():
        images = pd.DataFrame(score(run, real, work / commit / "real", True)["cities"].values())
        rows.append(
            {
                "commit": commit,
                "date": git("show", "--no-patch", "--format=%cs", commit).decode().strip(),
                "real_agl_r2": images.agl_r2.mean(),
                "real_vflow_r2": images.vflow_r2.mean(),
                "real_slope": images.agl_slope.mean(),
                "real_direction_error_deg_median": images.angle_error_deg.median(),
                "real_direction_error_deg_mean": images.angle_error_deg.mean(),
                "synthetic_score": score(run, synthetic, work / commit / "synthetic", False)["final_r2"],
            }
        )
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the scores of real images and synthetic tiles, and the direction errors, over the released runs."""
    figure, (scores, errors) = plt.subplots(1, 2, figsize=(13, 4.2), layout="constrained")
    places = range(len(table))
    for column, name in (
        ("real_agl_r2", "real: AGL R2"),
        ("real_vflow_r2", "real: VFLOW R2"),
        ("real_slope", "real: slope of heights"),
        ("synthetic_score", "synthetic: score"),
    ):
        scores.plot(places, table[column], marker="o", label=name)
    for column, name in (
        ("real_direction_error_deg_median", "median"),
        ("real_direction_error_deg_mean", "mean"),
    ):
        errors.plot(places, table[column], marker="o", label=name)
    scores.set(title="heights and flow")
    errors.set(title="direction error in real images, degrees", ylim=(0, None))
    for ax in (scores, errors):
        ax.set_xticks(places, table.commit, rotation=45, fontsize=8)
        ax.set(xlabel="released run, by its commit; the newest on the right")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--real", required=True, type=Path, metavar="DIR", help="real images with labels")
    parser.add_argument("--synthetic", required=True, type=Path, metavar="DIR", help="synthetic tiles with labels")
    parser.add_argument("--work", default=Path("runs/released"), type=Path, metavar="DIR", help="folder for the work")
    parser.add_argument("--out", default=Path("docs"), type=Path, metavar="DIR", help="folder for table and picture")
    args = parser.parse_args()
    result = compare(args.work, args.real, args.synthetic)
    result.to_csv(args.out / "released_runs.csv", index=False, float_format="%.4f")
    draw(result, args.out / "released_runs.png")
