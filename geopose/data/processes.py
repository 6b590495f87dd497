"""Jobs in parallel processes with one thread each."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import cv2


def in_processes(function: Callable, jobs: list[tuple], workers: int) -> Iterator:
    """Results of function(*job) for all jobs, in the order in which they finish. One worker runs in this process.

    When the caller stops taking results, for example on Ctrl-C, running jobs are completed and no others start.
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
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Let only the parent handle Ctrl-C, so that each worker completes its job. Use one thread per worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
