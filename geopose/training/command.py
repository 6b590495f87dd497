"""Train one fold of one config: python train.py CONFIG [key=value ...]"""

import os
from pathlib import Path

from geopose.cli import Parser, UserError
from geopose.config import load_config
from geopose.runs.folder import is_finished, read_manifest, run_config


def main() -> int:
    parser = Parser(__doc__, "python train.py configs/lite0_synthetic.yaml data.fold=1 train.epochs=2")
    parser.add_argument("config", metavar="CONFIG", help="a file of configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ from the file's")
    args = parser.parse_args()

    config = load_config(args.config, args.overrides)
    run_dir = Path(config.run.dir)
    if is_finished(run_dir):
        if run_config(run_dir) != config:
            raise UserError(f"{run_dir} holds a finished run with other settings; remove it or give run.dir=DIR")
        best = read_manifest(run_dir)["checkpoints"][0]["r2"]
        print(f"{run_dir} is finished (validation R2 {best:.4f}); remove the folder to train again")
        return 0

    from geopose.training.runner import train  # imports Catalyst, slow: not for --help or a typo

    first = int(os.environ.get("RANK", 0)) == 0  # of torchrun's processes; it speaks for all
    if first:
        print(f"training into {run_dir}", flush=True)
    train(config)
    if not first:
        return 0
    manifest = read_manifest(run_dir)
    print(
        f"{run_dir}: {manifest['epochs']} epochs, {manifest['optimizer_steps']} steps, {manifest['seconds']:.0f} s, "
        f"best validation R2 {manifest['checkpoints'][0]['r2']:.4f}"
    )
    return 0
