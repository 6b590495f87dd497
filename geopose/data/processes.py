"""Work shared among processes, one thread each."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import cv2


def in_processes(function: Callable, jobs: list[tuple], workers: int) -> Iterator:
    """function(*job) of every job, as they are done; in this process when one worker is enough.

    When the caller stops taking results, on Ctrl-C for instance, jobs at work are ended and no more are started.
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
    """Leave Ctrl-C to the parent, which lets each worker end its job and starts no more; one thread per worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
