"""What all commands share: argument parsing, one-line errors, progress bars."""

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

# pytorch-toolbelt raises these about its own code while it is imported. A user cannot fix them.
warnings.filterwarnings("ignore", category=FutureWarning, message="`torch.jit.script` is deprecated")
warnings.filterwarnings("ignore", category=FutureWarning, message="Importing from timm.models.layers")
warnings.filterwarnings("ignore", category=FutureWarning, message="`torch.cuda.amp.autocast")

# No space, quota or limit reached, read-only, not permitted: faults of the disk, not of the program.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


class UserError(Exception):
    """A mistake that the user can fix. Its text is one line: what is wrong, where, and how to fix it."""


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, 0 included, except those that say nothing: None, False and an empty list."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = action.default is None or action.default is False or action.default == []
        return action.help if says_nothing else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors: a bad flag ends in one line on standard error and exit status 2."""

    def __init__(self, description: str, example: str):
        super().__init__(
            description=description,
            epilog=f"example: {example}",
            formatter_class=_HelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; see '{self.prog} --help'", file=sys.stderr)
        raise SystemExit(2)

    def refuse_ignored(self, args: argparse.Namespace, names: Iterable[str], needs: str) -> None:
        """End with an error when a flag is given that this call would ignore. needs says what the flags need."""
        for name in names:
            if getattr(args, name) != self.get_default(name):
                self.error(f"--{name.replace('_', '-')} would be ignored, because it needs {needs}; leave it out")


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main() and exit with its status.

    A UserError, a file that cannot be written, or a full GPU ends in one line and exit status 2. Ctrl-C ends in status
    130. When the reader of the output has closed it, as `head` does, the command ends without a message.
    """
    try:
        status = main()
    except UserError as error:
        print_error(error)
        raise SystemExit(2) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(f"error: {describe_unwritable(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except RuntimeError as error:
        if not is_full_gpu(error):
            raise
        print(f"error: {describe_full_gpu(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; finished work is kept, run the same command to resume", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(status or 0)


def print_error(error: UserError) -> None:
    """One line on standard error."""
    # A worker process of a DataLoader adds its traceback to the error's text.
    message = str(error).rsplit(f"{UserError.__module__}.{UserError.__name__}: ", 1)[-1]
    print(f"error: {one_line(message)}", file=sys.stderr)


def describe_unwritable(error: OSError) -> str:
    """What to say of a file that could not be written: an error with a number in UNWRITABLE."""
    where = f"{error.filename}: " if error.filename else ""
    disk = f" (disk {disk_of(error.filename)})" if error.filename else ""
    remedy = "free some space, or give a folder and files that you may write, then run the same command to resume"
    return f"{where}{error.strerror}{disk}; {remedy}"


def is_full_gpu(error: RuntimeError) -> bool:
    """Whether torch ran out of a GPU's memory. Commands without torch do not import it for this question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def describe_full_gpu(error: RuntimeError) -> str:
    """What to say when torch ran out of a GPU's memory."""
    remedy = "compute in bf16, or use smaller batches and crops (data.batch_size, augment.crop_px) or a smaller --tile"
    return f"{str(error).split('. ')[0]}; {remedy}"


def disk_of(path: str | os.PathLike) -> Path:
    """Where the disk that holds a path, or would hold it, is mounted."""
    path = Path(path).absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_mount())


def one_line(error: object) -> str:
    """The text of an error on one line."""
    return " ".join(str(error).split())


def list_some(names: Sequence[str], shown: int = 3) -> str:
    """The first names, and how many more there are: "a, b, c and 7 more"."""
    names = [str(name) for name in names]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def progress(items: Iterable, description: str, total: int | None = None, unit: str = "it") -> tqdm:
    """A progress bar with the time left. It is silent when standard error is not a terminal."""
    return tqdm(items, desc=description, total=total, unit=unit, disable=None, dynamic_ncols=True)
