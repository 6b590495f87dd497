"""Compare variants of a training: `python -m geopose compare configs/ablation/lite0.yaml --data DIR --folds FILE`.

A list of variants is trained on one fold with the same budget. Each variant and seed is trained in its own process, and
each run then predicts the test half. The scores go to a markdown page and a CSV table after every one of them. After
an interruption the same command goes on: finished work is skipped, and an unfinished training resumes. The data must
include the truth of the test half.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from geopose.cli import Parser, UserError, list_some, print_error
from geopose.config import load_config
from geopose.io.files import make_room, write_bytes
from geopose.io.image_folder import list_images
from geopose.io.tables import truth_folder
from geopose.runs.compare_table import Page, describe, describe_missing
from geopose.runs.plan import Job, Place, best_variants, list_jobs, read_plan
from geopose.scoring.evaluate import evaluate_complete


def main() -> int:
    """Train, predict and score all variants, write the tables and print the markdown page."""
    args = create_parser().parse_args()
    plan, kind = read_plan(args.list, args.without), Path(args.list).resolve().parent.name
    test, runs, out = args.test or args.data, args.runs or Path("runs") / kind, args.out or Path("docs") / kind
    truth_folder(test)  # data that cannot be scored are refused before anything is trained
    place = Place(args.data, args.folds, args.fold, test, args.unlabelled, runs)
    jobs = list_jobs(plan, plan.variants, plan.seeds, place)
    for job in jobs:
        load_config(job.variant.config, job.overrides)  # a typo in any variant is reported before training starts
    page = Page(out, f"Variants of {args.list}", args.data)
    for path in (page.markdown, page.csv):
        make_room(path)

    table = run_jobs(jobs, pd.DataFrame(), test, plan.predict, page)
    scores = table.groupby("variant").score.mean().dropna()
    finals = list_jobs(plan, best_variants(plan, scores.to_dict()), plan.finals.seeds, place)
    if finals:
        table = run_jobs(finals, table, test, plan.predict, page)
    print(page.markdown.read_text())
    missing = [job.folder.name for job, score in zip([*jobs, *finals], table.score, strict=True) if pd.isna(score)]
    if missing:
        raise UserError(f"{list_some(missing)} failed, as written above; the same command tries them again")
    return 0


def create_parser() -> Parser:
    """The command's arguments."""
    parser = Parser(
        "Train a list of variants with the same budget on the same fold, and write a table of their scores.",
        "python -m geopose compare configs/ablation/lite0.yaml --data DIR --folds DIR/folds-stratified10.csv",
    )
    parser.add_argument(
        "list", metavar="LIST", help="YAML with config, budget and variants; optional: seeds, finals and predict flags"
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="competition folder to train on")
    parser.add_argument("--folds", required=True, metavar="FILE", help="CSV of folds that 'make folds' wrote")
    parser.add_argument("--fold", type=int, default=0, metavar="K", help="the fold that validates")
    parser.add_argument(
        "--test",
        metavar="DIR",
        help="folder with truth/ whose test half is scored: a competition folder, or images in test/ whose labels in "
        "truth/ have their names (default: --data)",
    )
    parser.add_argument("--unlabelled", metavar="DIR", help="folder of images, for lists that learn from such images")
    parser.add_argument("--without", nargs="+", default=[], metavar="NAME", help="variants to leave out")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder for the runs (default: runs/<folder of LIST>)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PREFIX",
        help="the tables are PREFIX.md and PREFIX.csv (default: docs/<folder of LIST>)",
    )
    return parser


def run_jobs(jobs: list[Job], before: pd.DataFrame, test: str, flags: list[str], page: Page) -> pd.DataFrame:
    """Add a row for each job to those of a table, and write the page after each. Returns the table.

    A job that fails is named on standard error, and its row is missing.
    """
    rows = list(map(describe_missing, jobs))
    for number, job in enumerate(jobs):
        try:
            rows[number] = run_job(job, test, flags)
        except UserError as error:
            print_error(error)
        table = pd.concat([before, pd.DataFrame(rows)], ignore_index=True)
        page.write(table)
    return table


def run_job(job: Job, test: str, flags: list[str]) -> dict:
    """Train and predict a job, each in its own process, and return its row of the table. Finished work is skipped."""
    if job.before:
        run_process(*job.before)
    if not job.variant.run:
        run_process("train", job.variant.config, *job.overrides)
    return describe(job, evaluate_complete(truth_folder(test), predict(job.run_dir, Path(test), job.folder, flags)))


def predict(run: Path, test: Path, folder: Path, flags: Iterable[str]) -> Path:
    """Predict a competition folder's test half into a tarball, or the images of test/ into a folder. Returns its path.

    folder: where it lies. flags: arguments of the predict command. Images that are predicted already are skipped.
    """
    if (test / "geopose_test.csv").exists():
        source, out = ("--data", test), folder / "submission.tar.gz"
    else:
        source, out = ("--images-from", folder / "images.txt"), folder / "predictions"
        write_bytes(source[1], "".join(f"{image}\n" for image in list_images(test / "test")).encode())
    run_process("predict", *source, "--runs", run, "--out", out, *flags)
    return out


def run_process(*words) -> None:
    """Run `python -m geopose WORDS` and show its output. Raises UserError when it fails."""
    command = [sys.executable, "-m", "geopose", *map(str, words)]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"'geopose {' '.join(map(str, words))}' failed; its error message is above")
