"""Reading the next item and writing the last one in threads of their own while the model is at work on a GPU.

Not on a CPU: there the model's own threads wait for each other whenever another takes a core from one of them, which
cost several times what the reading and writing did.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


def read_ahead(items: Iterable, beside: bool) -> Iterator:
    """The items in order; beside the caller, one item is fetched while the one before is in use."""
    if not beside:
        yield from items
        return
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        coming = pool.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, source, end)
            yield item


@contextmanager
def write_behind(beside: bool) -> Iterator[Callable]:
    """Gives write(function, *args), which runs the calls in order: at once or, beside the caller, in another thread.

    No more than one call waits or runs while the caller goes on, so results do not pile up in memory; a call's
    exception is raised by the next write or at the end of the block.
    """
    if not beside:
        yield lambda function, *args: function(*args)
        return
    last: list[Future] = []

    def write(function: Callable, *args) -> None:
        while last:
            last.pop().result()
        last.append(pool.submit(function, *args))

    with ThreadPoolExecutor(1, thread_name_prefix="write-behind") as pool:
        yield write
        while last:
            last.pop().result()
