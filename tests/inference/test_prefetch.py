"""Reading ahead and writing behind keep order, bounds and errors."""

import threading
import time

import pytest

from geopose.inference.prefetch import read_ahead, write_behind


def test_items_come_in_order_and_one_is_read_ahead():
    read = []

    def source():
        for number in range(5):
            read.append(number)
            yield number

    for number in read_ahead(source(), beside=True):
        time.sleep(0.02)
        assert read == list(range(min(number + 2, 5)))
    assert list(read_ahead([], beside=True)) == []


def test_reading_and_using_overlap():
    running = threading.Semaphore(0)

    def source():
        yield 1
        running.release()  # reached only by a reader that does not wait for the next request
        yield 2

    items = read_ahead(source(), beside=True)
    next(items)
    assert running.acquire(timeout=5)
    assert list(items) == [2]


def test_a_readers_error_reaches_the_user_of_the_items():
    def source():
        yield 1
        raise ValueError("bad file")

    items = read_ahead(source(), beside=True)
    assert next(items) == 1
    with pytest.raises(ValueError, match="bad file"):
        next(items)


def test_calls_run_in_order_and_all_before_the_block_ends():
    done = []

    def slowly(number):
        time.sleep(0.01)
        done.append(number)

    with write_behind(beside=True) as write:
        for number in range(5):
            write(slowly, number)
            assert len(done) >= number - 1
    assert done == list(range(5))


def test_a_failed_write_ends_the_work():
    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), write_behind(beside=True) as write:
        write(fail)
    after = []
    with pytest.raises(OSError, match="disk full"), write_behind(beside=True) as write:
        write(fail)
        write(after.append, 1)
        write(after.append, 2)
    assert after == []


def test_on_a_cpu_nothing_runs_beside():
    assert list(read_ahead(iter([1, 2, 3]), beside=False)) == [1, 2, 3]
    threads = []
    with write_behind(beside=False) as write:
        write(lambda: threads.append(threading.current_thread()))
    assert threads == [threading.main_thread()]
