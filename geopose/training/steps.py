"""The optimizer step: gradients, clipping, learning rate, moving average and the count of steps."""

import torch
from catalyst.core.callback import (
    Callback,
    CallbackOrder,
    IBackwardCallback,
    IOptimizerCallback,
    ISchedulerCallback,
)
from timm.utils import ModelEmaV3

from geopose.cli import UserError
from geopose.config import Config


class StepCallback(IBackwardCallback, IOptimizerCallback, ISchedulerCallback):
    """One optimizer step every `train.accumulation_steps` batches, and one after the last batch of an epoch.

    The step after the last batch keeps gradients from crossing into the next epoch. Gradients are divided by the
    accumulation steps and clipped by `optim.grad_clip_norm`. Gradients that are not finite end the training before they
    reach the weights. In fp16 the gradient scaler skips such steps and lowers its scale, so training ends only when the
    scale is too small to be useful.

    After each step the callback advances the learning rate schedule and the moving average. The plateau schedule is
    the exception: it advances once per epoch, by the validation score.
    """

    LEAST_SCALE = 2.0**-10

    def __init__(self, config: Config, valid_metric: str):
        Callback.__init__(self, order=CallbackOrder.Backward)  # the interfaces' own orders differ
        self.accumulation_steps = config.train.accumulation_steps
        self.clip_norm = config.optim.grad_clip_norm
        self.ema_decay = config.train.ema_decay
        self.plateau = config.optim.schedule == "plateau"
        self.valid_metric = valid_metric
        self.steps = 0
        self.average: ModelEmaV3 | None = None

    def on_experiment_start(self, runner) -> None:
        if self.ema_decay:
            # With warm-up the average follows the weights quickly at first and forgets the initial weights.
            model = runner.engine.unwrap_model(runner.model)
            self.average = ModelEmaV3(model, decay=self.ema_decay, use_warmup=True)

    def state(self) -> dict:
        """What a resumed training needs."""
        return {"steps": self.steps, "average": self.average.module.state_dict() if self.average else None}

    def restore(self, state: dict) -> None:
        """Continue from what state() returned."""
        self.steps = state["steps"]
        if self.average:
            self.average.module.load_state_dict(state["average"])

    def on_batch_end(self, runner) -> None:
        if not runner.is_train_loader:
            return
        runner.engine.backward(runner.batch_metrics["loss"] / self.accumulation_steps)
        batches = runner.loader_batch_step // runner.engine.num_processes
        if batches % self.accumulation_steps == 0 or runner.is_last_batch:
            self.step(runner)

    def step(self, runner) -> None:
        """Apply the accumulated gradients."""
        if self.clip_norm:
            runner.engine.clip_grad_norm_(runner.model.parameters(), self.clip_norm)
        self.check_gradients(runner)
        runner.optimizer.step()
        runner.optimizer.zero_grad()
        self.steps += 1
        if not self.plateau:
            runner.scheduler.step()
        if self.average:
            self.average.update(runner.engine.unwrap_model(runner.model), step=self.steps)

    def check_gradients(self, runner) -> None:
        """Raise UserError that names the batch's tiles when gradients are not finite."""
        scaler = runner.engine.scaler
        if scaler:
            broken = scaler.get_scale() < self.LEAST_SCALE
        else:
            gradients = [p.grad for p in runner.model.parameters() if p.grad is not None]
            broken = not torch.isfinite(torch.nn.utils.get_total_norm(gradients))
        if broken:
            raise UserError(
                f"gradients are not finite at epoch {runner.epoch_step}, tiles {', '.join(runner.batch['id'])}; "
                "lower optim.lr or train in fp32"
            )

    def on_loader_end(self, runner) -> None:
        if runner.is_train_loader:
            runner.loader_metrics["lr"] = runner.optimizer.param_groups[0]["lr"]

    def on_epoch_end(self, runner) -> None:
        if self.plateau:
            runner.scheduler.step(runner.epoch_metrics["valid"][self.valid_metric])
