"""`python -m geopose bench`: run the measurements and write bench.json and bench.md."""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from geopose.bench.adaptation import bench_adaptation
from geopose.bench.inputs import Inputs
from geopose.bench.lean_page import describe_lean
from geopose.bench.prediction import bench_overlap, bench_precision, bench_tta
from geopose.bench.probes import PROBES
from geopose.bench.recipes import measure_recipes
from geopose.bench.rectify import bench_rectify
from geopose.bench.renderer import bench_renderer
from geopose.bench.scene import bench_scene
from geopose.bench.score import bench_score
from geopose.bench.step import bench_step
from geopose.bench.store import bench_loader, bench_store
from geopose.bench.table import Row, describe_machine, format_table
from geopose.bench.wide_scene import measure_memory
from geopose.cli import Parser, UserError, progress
from geopose.devices import pick_device
from geopose.io.files import make_folder, write_bytes
from geopose.runs.folder import checkpoint_paths

ITEMS: dict[str, Callable[[Inputs], list[Row]]] = {
    "store": bench_store,
    "loader": bench_loader,
    "tta": bench_tta,
    "precision": bench_precision,
    "overlap": bench_overlap,
    "score": bench_score,
    "rectify": bench_rectify,
    "scene": bench_scene,
    "renderer": bench_renderer,
    "step": bench_step,
    "adaptation": bench_adaptation,
}
DESCRIPTION = (
    "Measure speed and memory, and compare our way with the common way. "
    "The command renders its own tiles in a temporary folder. Run it on an idle machine."
)


def main() -> int:
    parser = Parser(DESCRIPTION, "python -m geopose bench --only store rectify")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), metavar="DIR", help="folder for bench.json and bench.md"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="ITEM", help=f"items to measure, from {', '.join(ITEMS)}; default: all"
    )
    parser.add_argument(
        "--run", type=Path, metavar="RUN", help="trained run for the scene item; default: a run of two training steps"
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--probe",
        nargs=2,
        metavar=("WHAT", "RUN"),
        help=f"print one measurement of a run as JSON and exit; WHAT is one of {', '.join(PROBES)}",
    )
    kinds.add_argument(
        "--recipes",
        nargs="+",
        type=Path,
        metavar="CONFIG",
        help="measure training steps and large images of these configs in each precision instead, and write recipes.md",
    )
    kinds.add_argument(
        "--memory",
        type=Path,
        metavar="RUN",
        help="measure the memory of a wide scene row by row, under several settings, instead; write memory.csv and .md",
    )
    parser.add_argument("--compile", action="store_true", help="with --recipes: compiled training steps only")
    kinds.add_argument(
        "--lean",
        type=Path,
        metavar="RUN",
        help="measure instead how well the lean is removed, with heights that a run predicts, and write lean.md",
    )
    args = parser.parse_args()
    if args.compile and not args.recipes:
        raise UserError("--compile belongs to --recipes; name the configs to measure")
    if args.probe:
        parser.refuse_ignored(args, ["only", "run", "out"], "a call without --probe")
        print(json.dumps(measure_probe(*args.probe)))
        return 0
    items = args.only or list(ITEMS)
    unknown = sorted(set(items) - set(ITEMS))
    if unknown:
        raise UserError(f"--only {unknown[0]} is unknown; the items are {', '.join(ITEMS)}")
    for run in filter(None, (args.run, args.lean, args.memory)):
        checkpoint_paths(run)  # what would end the measurements is refused before they begin
    make_folder(args.out)
    if args.lean:
        parser.refuse_ignored(args, ["only", "run"], "a call without --lean")
        page = describe_lean(args.lean)
        write_bytes(args.out / "lean.md", page.encode())
        print(page)
        return 0
    if args.recipes:
        parser.refuse_ignored(args, ["only", "run"], "a call without --recipes")
        print_recipes(args.recipes, args.compile, args.out)
        return 0
    if args.memory:
        parser.refuse_ignored(args, ["only", "run"], "a call without --memory")
        print(measure_memory(args.memory, args.out))
        return 0
    for rows in measure_items(items, args.run):
        result = {"machine": describe_machine(), "rows": [asdict(row) for row in rows]}
        write_bytes(args.out / "bench.json", (json.dumps(result, indent=2) + "\n").encode())
        write_bytes(args.out / "bench.md", format_table(rows).encode())
    print(format_table(rows))
    return 0


def print_recipes(configs: list[Path], compiled: bool, out: Path) -> None:
    """Measure configs on the GPU or, without one, on the CPU. Print each row at once, and write it to recipes.md."""
    lines = [f"Machine: {describe_machine()}.", ""]
    print(*lines, sep="\n")
    for line in measure_recipes(configs, pick_device("auto"), compiled):
        print(line, flush=True)
        lines.append(line)
        write_bytes(out / "recipes.md", ("\n".join(lines) + "\n").encode())


def measure_items(names: list[str], trained: Path | None) -> Iterator[list[Row]]:
    """After each item, the rows of all so far. Inputs are made for them and removed at the end."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder), trained)
        for name in progress(names, "bench", unit="item"):
            rows += ITEMS[name](inputs)
            yield rows


def measure_probe(name: str, run: str) -> dict[str, float]:
    """The result of a probe in this process. Raises UserError for an unknown name."""
    if name not in PROBES:
        raise UserError(f"--probe {name} is unknown; the probes are {', '.join(PROBES)}")
    return PROBES[name](Path(run))
