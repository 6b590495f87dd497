"""Commands and measurements that run in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from geopose.cli import UserError

# As the Makefile exports them: see its comment.
MAKEFILE_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


def run_geopose(*words: object, environment: dict[str, str] | None = None) -> str:
    """Run `python -m geopose` with some arguments and return its standard output.

    environment: all variables of the new process; None keeps those of this one. Raises UserError when the command
    fails.
    """
    command = [sys.executable, "-m", "geopose", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["no error text"])[-1]
        raise UserError(f"'python -m geopose {words[0]}' failed: {last_line.removeprefix('error: ')}")
    return done.stdout


def run_probe(name: str, run: Path, settings: dict[str, str] = MAKEFILE_ALLOCATOR) -> dict[str, float]:
    """Measure one of the probes on a run in a new process, so that its peak memory contains nothing else.

    settings: variables that set glibc's allocator and GDAL's cache. Those of this process do not count.
    """
    others = {k: v for k, v in os.environ.items() if k != "GDAL_CACHEMAX" and not k.startswith("MALLOC_")}
    variables = others | settings
    return json.loads(run_geopose("bench", "--probe", name, run, environment=variables).splitlines()[-1])
