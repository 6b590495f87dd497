"""Fixtures shared by the tests."""

from pathlib import Path

import pytest
from helpers import make_folds, ok, predict, run, train, write_competition
from hypothesis import settings

# The same examples in every run, and no file of earlier failures.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture
def competition(tmp_path) -> Path:
    """A fresh competition folder: two train and two test tiles of 24 x 32 px for each of the four cities."""
    root = tmp_path / "competition"
    write_competition(root)
    return root


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """A competition folder of 8 training and 4 test tiles of 128 px, .j2k."""
    data = tmp_path_factory.mktemp("rendered") / "data"
    synthetic = ("-m", "geopose", "synthesize", "--out", data, "--train", 8, "--test", 4, "--size", 128)
    ok(run(*synthetic, "--rgb-format", "j2k"))
    assert len(list((data / "train").glob("*_RGB.j2k"))) == 8
    return data


@pytest.fixture(scope="session")
def job(rendered, tmp_path_factory):
    """data -> folds -> train 2 steps of the released run -> predict, on rendered tiles."""
    root = tmp_path_factory.mktemp("job")
    data, folds, run_dir, out = root / "data", root / "folds.csv", root / "runs" / "fold0", root / "submission.tar.gz"
    data.symlink_to(rendered)
    make_folds(data, folds)
    ok(train(data, folds, run_dir))
    print(ok(predict(data, run_dir, out, "--tta", "d4")))
    return root


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A competition folder of 8 tiles with folds.csv, two folds, for training in this process."""
    root = tmp_path_factory.mktemp("tiny")
    ids = write_competition(root, size=(40, 48))
    rows = [f"{i},{i.split('_')[0]},{number % 2}" for number, i in enumerate(ids)]
    (root / "folds.csv").write_text("\n".join(["id,city,fold", *rows]) + "\n")
    return root


def pytest_configure(config):
    """Competition tiles carry no map coordinates; rasterio warns of it at every file."""
    config.addinivalue_line("filterwarnings", "ignore::rasterio.errors.NotGeoreferencedWarning")
