"""Run folders and their checkpoints: weights are data (safetensors), and a manifest marks a run as finished."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from geopose import io
from geopose.cli import UserError
from geopose.config import Config, load_config
from geopose.models.model import PoseModel, create_model

CHECKPOINT_SUFFIX = ".safetensors"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state, never half of it under its name."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with io.writing(path) as temporary:
        save_file(state, temporary)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a model's state strictly. Raises UserError naming the file and what does not fit."""
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: truncated or no safetensors file ({error}); train again or copy it again") from None
    expected = model.state_dict()
    for what, keys in (
        ("lacks", expected.keys() - state.keys()),
        ("has unknown", state.keys() - expected.keys()),
        ("has other shapes of", {k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape}),
    ):
        if keys:
            shown = ", ".join(sorted(keys)[:3])
            raise UserError(f"{path}: {what} {len(keys)} tensors ({shown}, ...); it belongs to another model config")
    model.load_state_dict(state)


def write_manifest(run_dir: Path, manifest: dict) -> None:
    """Write manifest.json, which marks the run as finished."""
    io.write_bytes(run_dir / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())


def read_manifest(run_dir: str | os.PathLike) -> dict:
    """A finished run's manifest. Raises UserError when the folder holds no finished run."""
    path = Path(run_dir) / "manifest.json"
    if not path.exists():
        raise UserError(f"{path} missing: {run_dir} holds no finished run; train it with 'make train'")
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path}: not JSON; train the run again") from None


def finished_runs(runs_root: str | os.PathLike, data_root: str) -> list[Path]:
    """Finished runs under a folder that were trained on data_root, by name."""
    manifests = sorted(Path(runs_root).glob("*/fold*/manifest.json"))
    here = Path(data_root).resolve()
    return [m.parent for m in manifests if Path(read_manifest(m.parent)["data"]["root"]).resolve() == here]


def checkpoint_paths(run_dir: str | os.PathLike) -> list[Path]:
    """The checkpoints a finished run kept, best first."""
    paths = [Path(run_dir) / "checkpoints" / kept["file"] for kept in read_manifest(run_dir)["checkpoints"]]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]} missing, though its manifest names it; train the run again")
    return paths


def run_config(run_dir: str | os.PathLike) -> Config:
    """The settings a run was trained with."""
    return load_config(Path(run_dir) / "config.yaml")


def load_model(run_dir: str | os.PathLike, checkpoint: Path, device: torch.device) -> PoseModel:
    """A checkpoint's model on a device, ready to predict."""
    config = run_config(run_dir)
    model = create_model(config.model, load_weights=False)
    load_weights(model, checkpoint)
    memory_format = torch.channels_last if config.train.channels_last else torch.contiguous_format
    return model.eval().to(device=device, memory_format=memory_format)
