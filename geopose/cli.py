"""What every command shares: one-line errors for user mistakes and progress bars."""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import NoReturn

from tqdm import tqdm

# Raised while pytorch-toolbelt is imported, about its own code: nothing a user could mend.
warnings.filterwarnings("ignore", category=FutureWarning, message="`torch.jit.script` is deprecated")
warnings.filterwarnings("ignore", category=FutureWarning, message="Importing from timm.models.layers")
warnings.filterwarnings("ignore", category=FutureWarning, message="`torch.cuda.amp.autocast")


class UserError(Exception):
    """A mistake the user can mend. Its text is one line: what, where, how to mend it."""


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but no "(default: None)"."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """argparse that reports a bad flag as one line on standard error with exit status 2."""

    def __init__(self, description: str, example: str):
        super().__init__(
            description=description,
            epilog=f"example: {example}",
            formatter_class=_HelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; see '{self.prog} --help'", file=sys.stderr)
        raise SystemExit(2)


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main(): exit 2 with one line on a UserError, 130 on Ctrl-C, else main's own status."""
    try:
        status = main()
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; finished work is kept, run the same command to go on", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(status or 0)


def one_line(error: object) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())


def progress(items: Iterable, description: str, total: int | None = None, unit: str = "it") -> tqdm:
    """A progress bar with time left; silent when standard error is not a terminal."""
    return tqdm(items, desc=description, total=total, unit=unit, disable=None, dynamic_ncols=True)
