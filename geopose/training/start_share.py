"""The mean of the starting weights and the trained ones, which is validated and kept."""

import copy

import torch
from catalyst.core.callback import Callback, CallbackOrder

from geopose.models.checkpoints import average_states


class StartShareCallback(Callback):
    """Keeps a model whose weights are the mean of the starting weights and the trained ones.

    The starting weights count `train.start_share`. They keep what a short training on other data forgets (Wortsman et
    al. 2022, "Robust fine-tuning of zero-shot models"). The training itself does not see this mean.
    """

    def __init__(self, share: float):
        super().__init__(order=CallbackOrder.Internal)  # before the batches of a loader
        self.share = share
        self.start: dict[str, torch.Tensor] = {}
        self.model: torch.nn.Module | None = None

    def on_experiment_start(self, runner) -> None:
        self.model = copy.deepcopy(runner.engine.unwrap_model(runner.model)).eval().requires_grad_(False)
        self.start = {key: value.clone() for key, value in self.model.state_dict().items()}

    def state(self) -> dict:
        """What a resumed training needs: a run that was the start may have been replaced since."""
        return {"start": self.start}

    def restore(self, state: dict) -> None:
        """Continue from what state() returned."""
        self.start = state["start"]

    def on_loader_start(self, runner) -> None:
        if not runner.is_train_loader:
            trained = runner.trained_model().state_dict()
            self.model.load_state_dict(average_states([(trained, 1.0 - self.share), (self.start, self.share)]))
