"""One entry point for all commands: `python -m geopose COMMAND`, or `geopose COMMAND` after `pip install -e .`."""

import difflib
import importlib
import sys

from geopose.cli import UserError, run_command

# Command -> the module whose main() runs it, and what it does. A module is imported only when its command runs.
COMMANDS = {
    "synthesize": ("geopose.synthetic.command", "render synthetic cities as a competition folder"),
    "folds": ("geopose.data.folds", "split the training tiles into cross-validation folds"),
    "prepare": ("geopose.data.store", "copy tiles into a format whose crops are read in milliseconds"),
    "train": ("geopose.training.command", "train one config, with one fold for validation"),
    "predict": ("geopose.inference.command", "predict a test half into a tarball, or heights of your own images"),
    "evaluate": ("geopose.scoring.evaluate", "score predictions as the challenge does"),
    "validate": ("geopose.scoring.submission", "list every fault of a submission tarball"),
    "rectify": ("geopose.inference.rectify", "remove the building lean from an image"),
    "oof": ("geopose.inference.oof", "predict training tiles by runs that did not see them, and calibrate heights"),
    "verify": ("geopose.runs.verify", "check that a run can be reproduced"),
    "precision": ("geopose.runs.precision", "measure what half precision costs"),
    "release": ("geopose.runs.release", "shrink a run to one float16 checkpoint"),
    "compare": ("geopose.runs.compare", "train a list of variants on one budget and tabulate their scores"),
    "blend": ("geopose.runs.blending", "score ways to blend runs, and tabulate what each is worth"),
    "bench": ("geopose.bench.command", "measure speed and memory, beside those of the common way"),
    "report": ("geopose.report.command", "write an HTML page about a submission"),
    "demo": ("geopose.report.demo", "predict one image, and show the result as a picture and a page"),
    "figures": ("geopose.report.figures", "draw the figures of the documentation"),
    "translate": ("geopose.adaptation.command", "make labelled tiles look like unlabelled images"),
    "telltale": ("geopose.report.telltale", "find what tells rendered images from real ones"),
}


def main() -> int | None:
    """Run the command named first on the command line."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(describe_commands())
        return 0
    name, *arguments = words
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.0)[0]
        raise UserError(f"no command '{name}'; did you mean {near}? 'python -m geopose' lists all commands")
    sys.argv = [f"python -m geopose {name}", *arguments]
    return importlib.import_module(COMMANDS[name][0]).main()


def describe_commands() -> str:
    """One line per command."""
    lines = [f"  {name:11} {summary}" for name, (_, summary) in COMMANDS.items()]
    usage = "usage: python -m geopose COMMAND ...", "", "commands:"
    return "\n".join([*usage, *lines, "", "'python -m geopose COMMAND --help' describes a command's arguments."])


def run() -> None:
    """The installed command `geopose`."""
    run_command(main)


if __name__ == "__main__":
    run()
