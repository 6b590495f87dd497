"""What blending is worth: `python -m geopose blend configs/blend/lite0.yaml --data DIR`.

A list names finished runs and ways to blend them. Each way predicts the test half by the predict command, in a process
of its own, and is scored. The scores go to a markdown table. The data must include the truth of the test half.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from geopose.cli import Parser, UserError
from geopose.config import read_yaml
from geopose.io.files import make_room, write_bytes
from geopose.io.tables import truth_folder
from geopose.runs.compare import run_process
from geopose.runs.folder import checkpoint_paths, is_finished, read_manifest
from geopose.runs.origin import describe_origin
from geopose.scoring.evaluate import evaluate_complete
from geopose.scoring.metrics import mean_score

LIST_KEYS = {"runs", "parts"}
ROW_KEYS = {"name", "runs", "flags", "write_up"}
EXAMPLE = "see configs/blend/lite0.yaml"


@dataclass(frozen=True)
class Way:
    """One way to blend: a row of the table. The first row of a part is what the others of the part are compared with.

    flags: arguments of the predict command. checkpoints: how many each run must have kept. write_up: what the second
    place's write-up says of the same step.
    """

    part: str
    name: str
    runs: tuple[Path, ...]
    flags: tuple[str, ...] = ()
    write_up: str = ""
    checkpoints: int = 1

    def tarball(self, folder: Path) -> Path:
        """Where its prediction is kept. Rows of equal runs and flags share it."""
        words = "\n".join([*map(str, self.runs), *self.flags])
        return folder / f"{hashlib.sha256(words.encode()).hexdigest()[:12]}.tar.gz"


def main() -> int:
    """Predict and score all ways, write the table and print it."""
    parser = Parser(
        "Predict the test half with a list of ways to blend finished runs, and write a table of their scores.",
        "python -m geopose blend configs/blend/lite0.yaml --data data/synthetic",
    )
    parser.add_argument("list", metavar="LIST", help="YAML file with runs and parts, such as configs/blend/lite0.yaml")
    parser.add_argument("--data", required=True, metavar="DIR", help="competition folder with truth/")
    parser.add_argument("--work", type=Path, default=Path("runs/blend"), metavar="DIR", help="folder for the tarballs")
    parser.add_argument("--out", type=Path, default=Path("docs/blending.md"), metavar="FILE", help="table to write")
    args = parser.parse_args()
    ways = read_ways(args.list)
    truth_folder(args.data)  # data that cannot be scored are refused before anything is predicted
    refuse_missing(ways)
    make_room(args.out)
    scores = [score(way, args.data, args.work) for way in ways]
    origin = describe_origin(args.data, [read_manifest(run)["git_commit"] for way in ways for run in way.runs])
    notes = "The commit is that of the trainings, and the machine the one that scored them."
    table = f"# What blending is worth\n\n{origin}\n{notes}\n\n{format_ways(ways, scores)}"
    write_bytes(args.out, table.encode())
    print(table)
    return 0


def read_ways(path: str | Path) -> list[Way]:
    """The ways of a list, in its order. Raises UserError for unknown keys and names."""
    listed = OmegaConf.to_container(read_yaml(path, EXAMPLE))
    if set(listed) != LIST_KEYS:
        raise UserError(f"{path}: missing or unknown keys {', '.join(sorted(set(listed) ^ LIST_KEYS))}; {EXAMPLE}")
    return [
        read_way(str(path), part, row, {name: Path(run) for name, run in listed["runs"].items()})
        for part, rows in listed["parts"].items()
        for row in rows
    ]


def read_way(path: str, part: str, row: dict, runs: dict[str, Path]) -> Way:
    """One row of a list. runs: name -> run folder. path names the list in errors."""
    where, unknown = f"{path}: {part}, {row.get('name')}", sorted(set(row) - ROW_KEYS)
    if unknown or not {"name", "runs"} <= set(row):
        raise UserError(f"{where}: give name, runs and, where needed, flags and write_up; {EXAMPLE}")
    strangers = [name for name in row["runs"] if name not in runs]
    if strangers:
        raise UserError(f"{where}: no run is named {strangers[0]}; there are {', '.join(runs)}")
    flags = tuple(map(str, row.get("flags", ())))
    return Way(
        part,
        str(row["name"]),
        tuple(runs[name] for name in row["runs"]),
        flags,
        str(row.get("write_up", "")),
        count_weights(flags),
    )


def count_weights(flags: tuple[str, ...]) -> int:
    """The number of weights after --checkpoint-weights, at least 1."""
    if "--checkpoint-weights" not in flags:
        return 1
    after = flags[flags.index("--checkpoint-weights") + 1 :]
    return next((n for n, word in enumerate(after) if word.startswith("--")), len(after))


def refuse_missing(ways: list[Way]) -> None:
    """Raise UserError that names each run that is missing or has kept too few checkpoints, and a row that needs it."""
    faults: dict[Path, str] = {}
    for way in ways:
        for run in way.runs:
            if not is_finished(run):
                faults.setdefault(run, f"{run} is no finished run ({way.part}, {way.name})")
            elif len(checkpoint_paths(run)) < way.checkpoints:
                kept = len(checkpoint_paths(run))
                faults.setdefault(run, f"{run} kept {kept} checkpoints, not {way.checkpoints} ({way.part}, {way.name})")
    if faults:
        raise UserError(f"{'; '.join(faults.values())}; train these runs as the list says, or remove the rows")


def score(way: Way, data: str, folder: Path) -> dict:
    """Predict the test half in a way, unless that is done, and score it. Returns what evaluate_complete returns."""
    tarball = way.tarball(folder)
    run_process("predict", "--data", data, "--runs", *way.runs, "--out", tarball, *way.flags)
    return evaluate_complete(truth_folder(data), tarball)


def format_ways(ways: list[Way], scores: list[dict]) -> str:
    """The markdown table. The column change is the difference from the first row of the part."""
    columns = ("part", "way", "score", "change", "AGL R2", "VFLOW R2", "angle error", "change by the write-up")
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    first: dict[str, float] = {}
    for way, result in zip(ways, scores, strict=True):
        agl, vflow, angle = (mean_score(result, key) for key in ("agl_r2", "vflow_r2", "angle_error_deg"))
        r2 = result["final_r2"]
        change = f"{r2 - first[way.part]:+.4f}" if way.part in first else ""
        first.setdefault(way.part, r2)
        figures = (f"{r2:.4f}", change, f"{agl:.4f}", f"{vflow:.4f}", f"{angle:.1f}°")
        lines.append(f"| {' | '.join((way.part, way.name, *figures, way.write_up))} |")
    return "\n".join(lines) + "\n"
