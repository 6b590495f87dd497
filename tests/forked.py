"""`python SCRIPT ...` in a process of its own that has the large packages imported already.

To import torch and its companions takes longer than most commands of the tests. A server process imports them once for
all tests of a process, and is forked for each command.
"""

import os
import runpy
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["geopose.training.runner", "geopose.inference.command", "geopose.report.command"])


def run_forked(words: list[str], folder: Path) -> subprocess.CompletedProcess:
    """Run `python WORDS` in a folder: a script, or -m and a module. Returns what subprocess.run returns."""
    return run_ranks(words, folder, [{}])[0]


def run_ranks(words: list[str], folder: Path, variables: list[dict[str, str]]) -> list[subprocess.CompletedProcess]:
    """Run `python WORDS` in several processes at the same time, each with environment variables of its own."""
    with TemporaryDirectory() as kept:
        started = []
        for rank, own in enumerate(variables):
            shown = [Path(kept, f"{name}{rank}") for name in ("out", "err")]
            process = SERVER.Process(target=_become, args=(words, folder, shown, os.environ | own))
            process.start()
            started.append((process, shown))
        for process, _ in started:
            process.join()
        return [
            subprocess.CompletedProcess(words, process.exitcode, *(path.read_text() for path in shown))
            for process, shown in started
        ]


def _become(words: list[str], folder: Path, shown: list[Path], environment: dict[str, str]) -> None:
    """Be the process of `python WORDS`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(shown, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    tests = Path(__file__).parent
    sys.path = [str(folder), *(place for place in sys.path if not Path(place).is_relative_to(tests))]
    module = words[0] == "-m"
    sys.argv = words[1:] if module else words
    start = runpy.run_module if module else runpy.run_path
    start(sys.argv[0], run_name="__main__", **({"alter_sys": True} if module else {}))
