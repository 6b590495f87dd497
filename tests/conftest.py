"""Fixtures shared by the tests."""

from pathlib import Path

import pytest
from helpers import write_competition


@pytest.fixture
def competition(tmp_path) -> Path:
    """A fresh competition folder: two train and two test tiles of 24 x 32 px for each of the four cities."""
    root = tmp_path / "competition"
    write_competition(root)
    return root


def pytest_configure(config):
    """Competition tiles carry no map coordinates; rasterio warns of it at every file."""
    config.addinivalue_line("filterwarnings", "ignore::rasterio.errors.NotGeoreferencedWarning")
