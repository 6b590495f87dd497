"""What a training says while it runs: a progress bar on a terminal, and one line per epoch."""

import time

from catalyst.core.callback import Callback, CallbackOrder

from geopose.cli import progress


class ProgressCallback(Callback):
    """On a terminal a progress bar, otherwise one line per epoch. train.log gets the lines. A subclass words them."""

    def __init__(self):
        super().__init__(order=CallbackOrder.External)

    def describe(self, runner) -> str:
        """What the line says about the epoch that has ended."""
        raise NotImplementedError

    def postfix(self, runner) -> dict[str, str]:
        """What the bar shows behind its steps."""
        return {}

    def on_loader_start(self, runner) -> None:
        if runner.engine.is_main_process:
            self.bar = progress(None, f"epoch {runner.epoch_step} {runner.loader_key}", len(runner.loader), "batch")

    def on_batch_end(self, runner) -> None:
        if runner.engine.is_main_process:
            if not self.bar.disable:
                self.bar.set_postfix(self.postfix(runner))
            self.bar.update()

    def on_loader_end(self, runner) -> None:
        if runner.engine.is_main_process:
            self.bar.close()

    def on_epoch_end(self, runner) -> None:
        if runner.engine.is_main_process:
            line = f"epoch {runner.epoch_step}: {self.describe(runner)}"
            print(line, flush=True)
            with (runner.run_dir / "train.log").open("a") as log:
                log.write(f"{time.strftime('%F %T')} {line}\n")
