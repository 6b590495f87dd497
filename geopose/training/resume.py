"""Resuming an interrupted training from the end of its last complete epoch."""

from collections.abc import Callable
from functools import partial

from catalyst.core.callback import Callback, CallbackOrder

from geopose.cli import UserError
from geopose.io.files import remove_unfinished
from geopose.models.checkpoints import read_state
from geopose.training.processes import value_of_first

STATE_FILE = "state.pt"  # in the run folder while the run is unfinished
COUNTERS = ("epoch_step", "batch_step", "sample_step", "need_early_stop")


def common_state(runner) -> dict:
    """The part of a training's state that resume() restores for any runner."""
    counters = {name: getattr(runner, name) for name in COUNTERS}
    return {"counters": counters, "processes": runner.engine.num_processes}


def resume(runner, restore: Callable[[dict], None]) -> bool:
    """Continue an unfinished training, if runner.run_dir holds one. Returns whether it does.

    Its state is common_state() and what restore(state) puts back. Raises UserError for a state that only some processes
    see, that is damaged or of another version, or that another number of processes wrote: an epoch would then have
    other steps, and the schedule's end would come too early or too late.
    """
    path, first = runner.run_dir / STATE_FILE, runner.engine.is_main_process
    if first:
        remove_unfinished(runner.run_dir)
    found = path.exists()
    if value_of_first(found, runner.engine.device) != found:
        raise UserError(f"{path}: only some processes see this file; give all of them the same folder")
    if not found:
        return False
    state = read_state(path, runner.engine.device)
    try:
        before, now = state["processes"], runner.engine.num_processes
        if before != now:
            raise UserError(
                f"{runner.run_dir} was trained by {before} processes so far, and {now} would resume it; "
                f"start {before}, or remove the folder to train from the start"
            )
        for name in COUNTERS:
            setattr(runner, name, state["counters"][name])
        restore(state)
    except KeyError as error:
        raise UserError(
            f"{path}: lacks {error}, so another version wrote it; remove it to train from the start"
        ) from None
    if first:
        runner.loggers["csv"].forget_after(runner.epoch_step)
        print(f"resuming after epoch {runner.epoch_step}", flush=True)
    return True


def training_state(runner) -> dict:
    """Everything that the remaining epochs depend on, taken between two epochs."""
    scaler = runner.engine.scaler
    return {
        **common_state(runner),
        "precision": runner.precision,
        "model": runner.engine.unwrap_model(runner.model).state_dict(),
        "optimizer": runner.optimizer.state_dict(),
        "scheduler": runner.scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler else None,
        "callbacks": {name: c.state() for name, c in runner.callbacks.items() if hasattr(c, "state")},
    }


def restore_training(runner, state: dict) -> None:
    """Put the parts of a runner that resume() leaves into the state that training_state() returned."""
    runner.precision = state["precision"]  # auto, measured again, could choose another one
    runner.engine.unwrap_model(runner.model).load_state_dict(state["model"])
    runner.optimizer.load_state_dict(state["optimizer"])
    runner.scheduler.load_state_dict(state["scheduler"])
    if runner.engine.scaler:
        runner.engine.scaler.load_state_dict(state["scaler"])
    for name, values in state["callbacks"].items():
        runner.callbacks[name].restore(values)


class ResumeCallback(Callback):
    """Restores an unfinished run. It runs after the other callbacks, which set their starting values first."""

    def __init__(self):
        super().__init__(order=CallbackOrder.External + 2)

    def on_experiment_start(self, runner) -> None:
        resumed = resume(runner, partial(restore_training, runner))
        if resumed and runner.engine.is_main_process:
            runner.callbacks["checkpoint"].remove_others()
