"""Reading the next item and writing the last one in threads of their own while the model is at work."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


def read_ahead(items: Iterable) -> Iterator:
    """The items in order, each fetched while the one before is in use; no more than one waits."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        coming = pool.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, source, end)
            yield item


@contextmanager
def write_behind() -> Iterator[Callable]:
    """Gives write(function, *args), which runs the calls in order in another thread.

    No more than one call waits or runs while the caller goes on, so results do not pile up in memory; a call's
    exception is raised by the next write or at the end of the block.
    """
    last: list[Future] = []

    def write(function: Callable, *args) -> None:
        while last:
            last.pop().result()
        last.append(pool.submit(function, *args))

    with ThreadPoolExecutor(1, thread_name_prefix="write-behind") as pool:
        yield write
        while last:
            last.pop().result()
