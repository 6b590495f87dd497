"""Make a run small enough for the repository: `python -m geopose release --run RUN --out DIR`.

The new run has one checkpoint: the mean of the run's checkpoints, in float16, which halves the file size. Settings and
training curves are copied. The manifest is that of the training, with these changes: "checkpoints" names the new file
and its validation score, which is computed again on the CPU in float32. "released" lists the checkpoints of the mean,
and the device and precision of the training. When a released run is released again, for example as a mean with others,
its own list stays under "before".
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from geopose.cli import Parser, UserError
from geopose.config import BlendConfig
from geopose.inference.ensemble import weigh_checkpoints, weigh_runs
from geopose.io.files import make_folder
from geopose.models.checkpoints import CHECKPOINT_SUFFIX, load_average_model, save_weights
from geopose.runs.folder import checkpoint_paths, fingerprint_file, read_manifest, write_manifest
from geopose.runs.verify import validation_r2

COPIED = ("config.yaml", "metrics.csv", "train.log")


def release(run: Path, out: Path, others: Sequence[Path] = (), run_weights: Sequence[float] = ()) -> dict:
    """Write the released run into a new folder, completely or not at all, and return its manifest.

    others: finished runs of the same model. Between a run and its continuation on other crops, the mean of the weights
    keeps more of what both have learned. run_weights: how much run and each of the others count; empty: all the same.
    Raises UserError when out exists or cannot be made, a file of the run is missing, a weight is too large for float16,
    or run_weights are not one positive number per run.
    """
    if out.exists():
        raise UserError(f"{out} already exists; remove it or give another --out")
    trained = read_manifest(run)
    blend = BlendConfig(run_weights=tuple(run_weights))
    ranked = [
        (path, weight * share)
        for one, weight in weigh_runs([run, *others], blend)
        for path, share in weigh_checkpoints(checkpoint_paths(one), blend)
    ]
    missing = [name for name in COPIED if not (run / name).exists()]
    if missing:
        raise UserError(f"{run / missing[0]} missing: a release copies it; restore the file or train the run again")
    model = load_average_model(run, ranked, torch.device("cpu")).half()
    broken = [name for name, values in model.state_dict().items() if not bool(torch.isfinite(values).all())]
    if broken:
        raise UserError(f"{run}: {broken[0]} is too large for float16; train with a smaller optim.lr")
    make_folder(out.parent)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        new = Path(folder) / out.name
        path = new / "checkpoints" / f"model{CHECKPOINT_SUFFIX}"
        save_weights(model, path)
        for name in COPIED:
            shutil.copyfile(run / name, new / name)
        kept = {"file": path.name, "sha256": fingerprint_file(path)}
        # The score is computed again on the CPU in float32, so that every machine can verify it.
        before = trained.get("released")
        origin = before["trained_on"] if before else {key: trained[key] for key in ("device", "precision")}
        released = {"mean_of": trained["checkpoints"], "weights": "float16", "trained_on": origin}
        if before:
            released["before"] = before
        if others:
            released["and_of"] = {str(other): read_manifest(other)["checkpoints"] for other in others}
        if run_weights:
            released["run_weights"] = list(run_weights)
        manifest = trained | {"checkpoints": [kept], "released": released, "device": "cpu", "precision": "fp32"}
        write_manifest(new, manifest)
        kept["r2"] = validation_r2(new)
        write_manifest(new, manifest)
        new.rename(out)
    return manifest


def main() -> int:
    """Write the released run and print its size and score."""
    parser = Parser(
        "Shrink a run to one checkpoint, the mean of its checkpoints in float16.",
        "python -m geopose release --run runs/lite0_towers/fold0 --others runs/lite0_walls/mean --out runs/released",
    )
    parser.add_argument("--run", required=True, type=Path, metavar="RUN", help="a finished run; its data must exist")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the released run")
    parser.add_argument(
        "--others", nargs="+", default=[], type=Path, metavar="RUN", help="runs whose weights are averaged with RUN's"
    )
    parser.add_argument(
        "--run-weights", nargs="+", default=[], type=float, metavar="W", help="weight of RUN and of each of the others"
    )
    args = parser.parse_args()
    kept = release(args.run, args.out, args.others, args.run_weights)["checkpoints"][0]
    megabytes = (args.out / "checkpoints" / kept["file"]).stat().st_size / 1e6
    print(f"{args.out}: {megabytes:.1f} MB, validation R2 {kept['r2']:.4f}")
    return 0
