"""Checkpoints: weights as safetensors files, written completely or not at all, loaded strictly."""

import os
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from geopose.cli import UserError, one_line
from geopose.io.files import write_bytes, writing
from geopose.models.model import PoseModel, create_model
from geopose.runs.folder import run_config

CHECKPOINT_SUFFIX = ".safetensors"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state completely or not at all."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_bytes(path, save(state))


def save_state(state: dict, path: Path) -> None:
    """Write the state of an unfinished training completely or not at all. Raises OSError on a full disk."""
    with writing(path) as temporary, temporary.open("wb") as stream:
        try:
            torch.save(state, stream)
        except RuntimeError as error:  # torch replaces the error that the stream raised
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def read_state(path: Path, device: torch.device) -> dict:
    """The state of an unfinished training. Only data is unpickled, no code. Raises UserError for a damaged file."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        reason = one_line(error).split(". ")[0]
        raise UserError(
            f"{path}: truncated or damaged ({reason}); copy it again, or remove it to train from the start"
        ) from None


def load_weights(model: nn.Module, path: Path, new_part: str | None = None) -> None:
    """Load a model's state strictly. Raises UserError that names the file and what does not fit.

    new_part is a part of the model that the file may lack as a whole. It then stays as it is.
    """
    state = read_weights(path)
    added = {key: value for key, value in model.state_dict().items() if key.split(".")[0] == new_part}
    load_state(model, state if added.keys() & state.keys() else added | state, path)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: truncated or not a safetensors file ({error}); train again or copy it again"
        ) from None


def load_state(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load tensors into a model strictly. path names their file in errors."""
    check_state(model, state, path)
    model.load_state_dict(state)


def check_state(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Raise UserError unless tensors have the names and shapes of a model's. path names their file."""
    expected = model.state_dict()
    for what, keys in (
        ("lacks", expected.keys() - state.keys()),
        ("has unknown", state.keys() - expected.keys()),
        ("has other shapes of", {k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape}),
    ):
        if keys:
            shown = ", ".join(sorted(keys)[:3])
            raise UserError(f"{path}: {what} {len(keys)} tensors ({shown}, ...); it belongs to another model config")


def load_model(run_dir: str | os.PathLike, checkpoint: Path, device: torch.device) -> PoseModel:
    """A checkpoint's model on a device, ready to predict."""
    return load_average_model(run_dir, [(checkpoint, 1.0)], device)


def load_average_model(run_dir: str | os.PathLike, ranked: list[tuple[Path, float]], device: torch.device) -> PoseModel:
    """A model whose weights are the weighted mean of a run's checkpoints, ready to predict."""
    config = run_config(run_dir)
    model = create_model(config.model, load_weights=False)
    states = [(read_weights(path), weight) for path, weight in ranked]
    for (path, _), (state, _) in zip(ranked, states, strict=True):
        check_state(model, state, path)
    load_state(model, average_states(states), ranked[0][0])
    memory_format = torch.channels_last if config.train.channels_last else torch.contiguous_format
    return model.eval().to(device=device, memory_format=memory_format)


def average_states(states: list[tuple[dict[str, torch.Tensor], float]]) -> dict[str, torch.Tensor]:
    """The weighted mean of models' states, given as pairs of a state and its weight.

    Integer tensors (counters) come from the first state. Running means and variances are averaged like weights.
    """
    (first, _), total = states[0], sum(weight for _, weight in states)
    return {
        key: sum(weight * state[key].double() for state, weight in states).div(total).to(value.dtype)
        if value.is_floating_point() and len(states) > 1
        else value
        for key, value in first.items()
    }
