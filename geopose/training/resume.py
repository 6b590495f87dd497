"""Resuming an interrupted training from the end of its last complete epoch."""

from catalyst.core.callback import Callback, CallbackOrder

from geopose.cli import UserError
from geopose.io.files import remove_unfinished
from geopose.models.checkpoints import read_state
from geopose.training.processes import value_of_first

STATE_FILE = "state.pt"  # in the run folder while the run is unfinished
COUNTERS = ("epoch_step", "batch_step", "sample_step", "need_early_stop")


def training_state(runner) -> dict:
    """Everything that the remaining epochs depend on, taken between two epochs."""
    scaler = runner.engine.scaler
    return {
        "counters": {name: getattr(runner, name) for name in COUNTERS},
        "processes": runner.engine.num_processes,
        "precision": runner.precision,
        "model": runner.engine.unwrap_model(runner.model).state_dict(),
        "optimizer": runner.optimizer.state_dict(),
        "scheduler": runner.scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler else None,
        "callbacks": {name: c.state() for name, c in runner.callbacks.items() if hasattr(c, "state")},
    }


def restore_training(runner, state: dict) -> None:
    """Put a runner into the state that training_state() returned.

    Raises UserError for another number of processes: an epoch would then have other steps, and the schedule's end
    would come too early or too late.
    """
    before, now = state["processes"], runner.engine.num_processes
    if before != now:
        raise UserError(
            f"{runner.run_dir} was trained by {before} processes so far, and {now} would resume it; start {before}, or "
            "remove the folder to train from the start"
        )
    for name in COUNTERS:
        setattr(runner, name, state["counters"][name])
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
        path = runner.run_dir / STATE_FILE
        if runner.engine.is_main_process:
            remove_unfinished(runner.run_dir)
        found = path.exists()
        if value_of_first(found, runner.engine.device) != found:
            raise UserError(f"{path}: only some processes see this file; give all of them the same folder as run.dir")
        if not found:
            return
        try:
            restore_training(runner, read_state(path, runner.engine.device))
        except KeyError as error:
            raise UserError(
                f"{path}: lacks {error}, so another version wrote it; remove it to train from the start"
            ) from None
        if runner.engine.is_main_process:
            runner.callbacks["checkpoint"].remove_others()
            runner.loggers["csv"].forget_after(runner.epoch_step)
            print(f"resuming after epoch {runner.epoch_step}", flush=True)
