"""The command `train`: one fold of one config, trained to the end or resumed."""

import os
from pathlib import Path

from geopose.cli import Parser
from geopose.config import load_config
from geopose.runs.folder import (
    is_finished,
    read_manifest,
    refuse_other_inputs,
    refuse_other_settings,
    refuse_other_start,
)


def main() -> int:
    parser = Parser(
        "Train one config: fold data.fold validates, all other folds are trained on. The same command resumes an "
        "interrupted training.",
        "python train.py configs/lite0_synthetic.yaml data.fold=1 train.max_minutes=2",
    )
    parser.add_argument("config", metavar="CONFIG", help="a YAML file of configs/: one complete experiment")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of CONFIG")
    args = parser.parse_args()

    config = load_config(args.config, args.overrides)
    run_dir = Path(config.run.dir)
    if is_finished(run_dir):
        manifest = read_manifest(run_dir)
        refuse_other_settings(run_dir, "a finished run", config)
        refuse_other_inputs(run_dir, "a finished run", manifest["data"], config)
        refuse_other_start(run_dir, manifest, config)
        best = manifest["checkpoints"][0]["r2"]
        print(f"{run_dir} is finished (validation R2 {best:.4f}); remove the folder to train again")
        return 0

    from geopose.training.runner import train  # Catalyst takes seconds to import, so --help and typos come first

    first = int(os.environ.get("RANK", 0)) == 0  # one of torchrun's processes prints for all
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
