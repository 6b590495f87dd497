"""The contracts of `make lint` hold, and a violation of each one fails. Lists of modules are whole, and files short."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import REPO

LINT = Path(sys.executable).with_name("lint-imports")


def lint(root: Path) -> subprocess.CompletedProcess:
    return subprocess.run([LINT, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path) -> Path:
    """The package, its settings and the contracts, to be spoiled."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPO / "geopose", tmp_path / "geopose", ignore=ignored)
    (tmp_path / "tests").mkdir()
    shutil.copy(REPO / "tests" / "contracts.py", tmp_path / "tests")
    shutil.copy(REPO / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy):
    result = lint(copy)
    assert result.returncode == 0, result.stdout
    assert "4 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "told"),
    [
        ("io/files.py", "import geopose.config", "geopose.io.files -> geopose.config"),
        ("data/folds.py", "import geopose.training.losses", "geopose.data.folds -> geopose.training.losses"),
        ("inference/oof.py", "import geopose.training.losses", "geopose.inference.oof -> geopose.training.losses"),
        ("scoring/metrics.py", "from catalyst import dl", "geopose.scoring.metrics -> catalyst"),
        ("data/stretch.py", "UP = np.sin(0.0)", "geopose/data/stretch.py"),
        ("training/losses.py", "from math import atan2", "geopose/training/losses.py"),
        ("data/dataset.py", "height_cm = 65535", "geopose/data/dataset.py"),
    ],
)
def test_a_violation_fails(copy, module, line, told):
    path = copy / "geopose" / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = lint(copy)
    assert result.returncode == 1
    assert told in " ".join(result.stdout.split())


def test_a_list_of_a_packages_modules_is_whole():
    for init in (REPO / "geopose").glob("*/__init__.py"):
        listed = set(re.findall(r"\b(\w+\.py)\b", init.read_text()))
        modules = {path.name for path in init.parent.glob("*.py")} - {"__init__.py"}
        assert listed in (set(), modules), f"{init}: {sorted(listed ^ modules)}"


def test_no_file_is_long():
    lengths = {path: len(path.read_text().splitlines()) for path in (REPO / "geopose").rglob("*.py")}
    assert not {str(path): length for path, length in lengths.items() if length > 400}
