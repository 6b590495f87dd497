"""Jobs in parallel processes."""

import os

import pytest

from geopose.cli import UserError
from geopose.data.processes import in_processes


def test_results_are_those_of_all_jobs():
    assert sorted(in_processes(pow, [(n, 2) for n in range(5)], 2)) == [0, 1, 4, 9, 16]


def test_a_process_that_is_gone_is_one_line():
    """As when the system kills it because memory ran out."""
    with pytest.raises(UserError, match=r"one of 2 processes was killed, .* give fewer --workers"):
        list(in_processes(os._exit, [(9,), (9,)], 2))
