"""Jobs in parallel processes with one thread each."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import cv2

from geopose.cli import UserError


def in_processes(function: Callable, jobs: list[tuple], workers: int) -> Iterator:
    """Results of function(*job) for all jobs, in the order in which they finish. One worker runs in this process.

    When the caller stops taking results, for example on Ctrl-C, running jobs are completed and no others start. Raises
    UserError when the system kills a process, as it does when memory runs out.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for job in jobs:
            yield function(*job)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        for done in as_completed([pool.submit(function, *job) for job in jobs]):
            yield done.result()
    except BrokenProcessPool:
        raise UserError(
            f"one of {workers} processes was killed, probably because memory ran out; give fewer --workers, then run "
            "the same command to resume"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Let only the parent handle Ctrl-C, so that each worker completes its job. Use one thread per worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
