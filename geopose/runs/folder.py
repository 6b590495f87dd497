"""Run folders: settings, manifests, which checkpoints were kept. Imports no torch, so that looking is quick."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from geopose.cli import UserError
from geopose.config import Config, load_config
from geopose.io.files import write_bytes


def write_manifest(run_dir: Path, manifest: dict) -> None:
    """Write manifest.json, which marks the run as finished."""
    write_bytes(run_dir / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())


def is_finished(run_dir: str | os.PathLike) -> bool:
    """Whether a run ended well."""
    return (Path(run_dir) / "manifest.json").exists()


def read_manifest(run_dir: str | os.PathLike) -> dict:
    """A finished run's manifest. Raises UserError when the folder holds no finished run."""
    path = Path(run_dir) / "manifest.json"
    if not path.exists():
        raise UserError(f"{path} missing: {run_dir} holds no finished run; train it with 'make train'")
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path}: not JSON; train the run again") from None


def finished_runs(runs_root: str | os.PathLike, data_root: str | os.PathLike) -> list[Path]:
    """Finished runs under a folder that were trained on data_root, by name."""
    manifests = sorted(Path(runs_root).glob("*/fold*/manifest.json"))
    here = Path(data_root).resolve()
    return [m.parent for m in manifests if Path(read_manifest(m.parent)["data"]["root"]).resolve() == here]


def newest_run(runs_root: str | os.PathLike) -> Path:
    """The run under a folder that was finished last. Raises UserError when there is none."""
    manifests = list(Path(runs_root).glob("*/fold*/manifest.json"))
    if not manifests:
        raise UserError(f"no finished run under {runs_root}/; run 'make train' or name --runs")
    return max(manifests, key=lambda path: path.stat().st_mtime).parent


def checkpoint_paths(run_dir: str | os.PathLike) -> list[Path]:
    """The checkpoints a finished run kept, best first."""
    paths = [Path(run_dir) / "checkpoints" / kept["file"] for kept in read_manifest(run_dir)["checkpoints"]]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]} missing, though its manifest names it; train the run again")
    return paths


def fingerprint_checkpoints(runs: list[str | os.PathLike]) -> dict[str, str]:
    """Path -> SHA-256 of every checkpoint the runs kept."""
    return {str(path): fingerprint_file(path) for run in runs for path in checkpoint_paths(run)}


def usual_sizes(runs: list[str | os.PathLike]) -> dict[str, tuple[float, ...]]:
    """zooms and zoom_weights, as BlendConfig takes them: sizes of views that all of the runs' configs name, ascending.

    A size weighs as the runs weigh it in the mean, each by its share; where they agree on no size, it is 1 alone.
    Raises UserError for a folder that holds no finished run.
    """
    shares = []
    for run in runs:
        read_manifest(run)
        cfg = run_config(run).predict
        weights = cfg.zoom_weights or [1.0] * len(cfg.zooms)
        shares.append({zoom: weight / sum(weights) for zoom, weight in zip(cfg.zooms, weights, strict=True)})
    zooms = tuple(sorted(set.intersection(*map(set, shares)))) or (1.0,)
    return {"zooms": zooms, "zoom_weights": tuple(fmean(share.get(zoom, 1.0) for share in shares) for zoom in zooms)}


def encode_recipe(recipe: dict) -> bytes:
    """All that decides some predictions, but for the code, as it stands in a file beside them."""
    return (json.dumps(recipe, indent=2) + "\n").encode()


def fingerprint_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint_images(root: str | os.PathLike, table: str, images: Iterable[str | os.PathLike]) -> str:
    """SHA-256 over a data folder's metadata.csv, one more of its tables, and images' names, sizes and times of change.

    Hashing the images themselves would read the whole folder before a prediction starts.
    """
    stats = ((Path(image).name, Path(image).stat()) for image in images)
    return digest_folder(root, table, (f"{name} {stat.st_size} {stat.st_mtime_ns}\n" for name, stat in stats))


def digest_folder(root: str | os.PathLike, table: str, lines: Iterable[str]) -> str:
    """SHA-256 over a data folder's metadata.csv, one more of its tables, and lines about its files."""
    digest = hashlib.sha256()
    for name in ("metadata.csv", table):
        digest.update((Path(root) / name).read_bytes())
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def run_config(run_dir: str | os.PathLike) -> Config:
    """The settings a run was trained with."""
    return load_config(Path(run_dir) / "config.yaml")
