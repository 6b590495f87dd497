"""A DataLoader whose worker processes use one thread each."""

import cv2
from torch.utils.data import DataLoader, Dataset


class OneThreadLoader(DataLoader):
    """A DataLoader in whose workers OpenCV uses one thread. torch does the same for its own threads.

    By default each of several workers would start as many threads as there are cores. A worker that is forked from a
    process that has used OpenCV's pool of threads cannot change their number: it crashes or waits for ever, because
    the pool's threads do not exist in it. So this process gives up its own pool while the workers start.
    """

    def __init__(self, dataset: Dataset, **options):
        super().__init__(dataset, worker_init_fn=_use_one_thread, **options)

    def __iter__(self):
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            return super().__iter__()  # starts the workers
        finally:
            cv2.setNumThreads(threads)


def _use_one_thread(worker: int) -> None:
    """For workers that are not forked, and so do not have this process's setting."""
    cv2.setNumThreads(1)
