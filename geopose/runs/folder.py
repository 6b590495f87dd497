"""Run folders: settings, manifests, checkpoints and fingerprints. This module does not import torch, so it is fast."""

import hashlib
import json
import os
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

from geopose.cli import UserError, list_some
from geopose.config import Config, list_differences, load_config
from geopose.io.files import file_status, write_bytes
from geopose.io.image_folder import fingerprint_unlabelled
from geopose.io.names import ARGUMENTS_FILE
from geopose.io.tables import read_train_table


def run_config(run_dir: str | os.PathLike) -> Config:
    """The settings with which a run was trained."""
    return load_config(Path(run_dir) / "config.yaml")


def write_manifest(run_dir: Path, manifest: dict) -> None:
    """Write manifest.json. A run is finished when it has this file."""
    write_bytes(run_dir / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())


def is_finished(run_dir: str | os.PathLike) -> bool:
    """Whether a run has ended successfully."""
    return (Path(run_dir) / "manifest.json").exists()


def read_manifest(run_dir: str | os.PathLike) -> dict:
    """The manifest of a finished run. Raises UserError when the folder has no finished run."""
    path = Path(run_dir) / "manifest.json"
    if not path.exists():
        raise UserError(f"{path} missing: {run_dir} holds no finished run; train it with 'make train'")
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path}: not valid JSON; train the run again") from None


def finished_runs(runs_root: str | os.PathLike, data_root: str | os.PathLike) -> list[Path]:
    """Finished runs in a folder that were trained on data_root, sorted by name."""
    manifests = sorted(Path(runs_root).glob("*/fold*/manifest.json"))
    here = Path(data_root).resolve()
    return [m.parent for m in manifests if Path(read_manifest(m.parent)["data"]["root"]).resolve() == here]


def newest_run(runs_root: str | os.PathLike) -> Path:
    """The most recently finished run in a folder. Raises UserError when there is none."""
    runs = [manifest.parent for manifest in sorted(Path(runs_root).glob("*/fold*/manifest.json"))]
    if not runs:
        raise UserError(f"no finished run under {runs_root}/; run 'make train' or give --runs")
    return max(runs, key=lambda run: read_manifest(run)["finished"])  # a file's time changes when it is copied


def checkpoint_paths(run_dir: str | os.PathLike) -> list[Path]:
    """Paths of a finished run's checkpoints, best first. Raises UserError when one is missing."""
    paths = [Path(run_dir) / "checkpoints" / kept["file"] for kept in read_manifest(run_dir)["checkpoints"]]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]} missing, but the manifest names it; train the run again")
    return paths


def fingerprint_checkpoints(runs: list[str | os.PathLike]) -> dict[str, str]:
    """Path -> SHA-256 of every checkpoint of the runs."""
    return {str(path): fingerprint_file(path) for run in runs for path in checkpoint_paths(run)}


def describe_other_packages(runs: list[str | os.PathLike]) -> str:
    """One line on runs that were trained with another major version of torch or timm than the one here, or ""."""
    others = {}
    for run in runs:
        packages = read_manifest(run)["packages"]
        for name in ("torch", "timm"):
            here = version(name)
            if packages[name].split(".")[0] != here.split(".")[0]:
                others[f"{name} {packages[name]} (here is {here})"] = run
    if not others:
        return ""
    return "; ".join(f"{run} was trained with {what}" for what, run in others.items()) + ": predictions may differ"


def usual_views(runs: list[str | os.PathLike]) -> dict[str, str | tuple[float, ...]]:
    """tta, zooms and zoom_weights of BlendConfig: the views of an image that the runs' configs name.

    tta is that of all runs, or d4 if they differ. zooms are the sizes that the runs have in common, ascending, or 1 if
    they have none. The weight of a size is its mean share over the runs. Raises UserError for a folder without a
    finished run.
    """
    shares, turns = [], set()
    for run in runs:
        read_manifest(run)
        cfg = run_config(run).predict
        turns.add(cfg.tta)
        weights = cfg.zoom_weights or [1.0] * len(cfg.zooms)
        shares.append({zoom: weight / sum(weights) for zoom, weight in zip(cfg.zooms, weights, strict=True)})
    zooms = tuple(sorted(set.intersection(*map(set, shares)))) or (1.0,)
    weights = tuple(fmean(share.get(zoom, 1.0) for share in shares) for zoom in zooms)
    return {"tta": turns.pop() if len(turns) == 1 else "d4", "zooms": zooms, "zoom_weights": weights}


def encode_recipe(recipe: dict) -> bytes:
    """The recipe of predictions as JSON: everything that determines them, except the code."""
    return (json.dumps(recipe, indent=2) + "\n").encode()


def fingerprint_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint_images(root: str | os.PathLike, table: str, images: Iterable[str | os.PathLike]) -> str:
    """SHA-256 of a data folder's metadata.csv, another table, and the names, sizes and modification times of images.

    The images themselves are not hashed, because that would read the whole folder before a prediction starts.
    """
    stats = ((Path(image).name, file_status(image)) for image in images)
    return digest_folder(root, table, (f"{name} {stat.st_size} {stat.st_mtime_ns}\n" for name, stat in stats))


def fingerprint_data(root: str, skip_missing: bool = False) -> str:
    """SHA-256 over the folder's tables and the names and sizes of its training files.

    For a rendered folder, its arguments replace the sizes: they determine all files, and processors with other
    instructions round a few pixels differently. Raises UserError for a missing file, unless skip_missing is set.
    """
    arguments = Path(root) / ARGUMENTS_FILE
    if arguments.exists():
        return digest_folder(root, "geopose_train.csv", [arguments.read_text()])
    table = read_train_table(root)
    files = map(Path, [*table.rgb, *table.agl, *table.vflow])
    return digest_folder(root, "geopose_train.csv", (f"{path.name} {_size(path, skip_missing)}\n" for path in files))


def _size(path: Path, skip_missing: bool) -> int | str:
    return "missing" if skip_missing and not path.exists() else file_status(path).st_size


def fingerprint_inputs(config: Config) -> dict[str, str]:
    """SHA-256 of the data ("fingerprint"), the folds and any unlabelled images of a training, as in its manifest."""
    folds = Path(config.data.folds)
    if not folds.exists():
        raise UserError(f"{folds} missing; run 'make folds'")
    data = fingerprint_data(config.data.root, skip_missing=config.data.on_bad_tile == "skip")
    inputs = {"fingerprint": data, "folds": fingerprint_file(folds)}
    if config.train.self_training:
        inputs["unlabelled"] = fingerprint_unlabelled(config.train.unlabelled, config.data.root)
    return inputs


def refuse_other_inputs(run_dir: Path, kind: str, recorded: dict[str, str], config: Config) -> None:
    """Raise UserError when data or folds are not those that fingerprint_inputs() recorded for a run.

    kind: "a finished run" or "an unfinished run".
    """
    now = fingerprint_inputs(config)
    places = {
        "fingerprint": f"the data in {config.data.root}",
        "folds": f"the folds in {config.data.folds}",
        "unlabelled": f"the images in {config.train.unlabelled}",
    }
    changed = [places[key] for key in now if recorded[key] != now[key]]
    if changed:
        raise UserError(
            f"{run_dir} holds {kind}, but {' and '.join(changed)} changed since its training began; "
            "restore what it was trained on, remove the folder to train again, or give run.dir=DIR"
        )


def refuse_other_settings(run_dir: Path, kind: str, config: Config) -> None:
    """Raise UserError that names the settings in which a config differs from that of a run; kind as above.

    A run may have been moved: where results are written is no difference.
    """
    differences = list_differences(run_config(run_dir), config)
    if differences:
        raise UserError(
            f"{run_dir} holds {kind} with other settings ({list_some(differences)}); remove it or give run.dir=DIR"
        )


def refuse_other_start(run_dir: Path, manifest: dict, config: Config) -> None:
    """Raise UserError when the run that train.start_from names has other weights now than when a finished run began.

    A start that has been removed since cannot have changed.
    """
    start = config.train.start_from
    if not start or not is_finished(start):
        return
    before, now = (m["checkpoints"][0]["sha256"] for m in (manifest["started_from"], read_manifest(start)))
    if before != now:
        raise UserError(
            f"{run_dir} holds a finished run, but {start}, where its training began, has other weights now; "
            "remove the folder to train again, or give run.dir=DIR"
        )


def digest_folder(root: str | os.PathLike, table: str, lines: Iterable[str]) -> str:
    """SHA-256 of a data folder's metadata.csv, another table, and lines about its files."""
    digest = hashlib.sha256()
    for name in ("metadata.csv", table):
        digest.update((Path(root) / name).read_bytes())
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()
