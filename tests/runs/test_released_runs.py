"""The curves of all released runs, on a history of two: what cannot be predicted is left out."""

import shutil
import sys

import pandas as pd
import pytest
from helpers import RELEASED, images_only, run

from geopose.cli import UserError
from geopose.runs import compare
from tests import released_runs
from tests.released_runs import extract_run, git, list_commits


@pytest.fixture
def history(tmp_path, monkeypatch):
    """A repository that has released a run twice, the second time with a damaged checkpoint. Returns the commits."""
    repository = tmp_path / "repository"
    fold = shutil.copytree(RELEASED, repository / released_runs.RELEASED / "fold0")
    monkeypatch.setattr(released_runs, "ROOT", repository)
    git("init", "--quiet")
    for message in ("whole", "damaged"):
        git("add", ".")
        git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", f"--message={message}")
        next((fold / "checkpoints").iterdir()).write_bytes(b"damaged")
    return list_commits()


def test_a_run_that_cannot_be_predicted_is_left_out(history, rendered, tmp_path, monkeypatch, capsys):
    def run_forked(*words):
        if run("-m", "geopose", *words).returncode:
            raise UserError("failed")

    monkeypatch.setattr(compare, "run_process", run_forked)
    monkeypatch.setattr(released_runs, "git_commit", lambda: "f00d" * 10)
    real, work, docs = images_only(rendered, tmp_path / "real"), tmp_path / "work", tmp_path / "docs"
    words = ("--real", real, "--synthetic", rendered, "--work", work, "--out", docs)
    monkeypatch.setattr(sys, "argv", ["released_runs", *map(str, words)])
    released_runs.main()
    whole, damaged = history
    table = pd.read_csv(docs / "released_runs.csv", dtype={"commit": str})
    assert table.commit.tolist() == [whole] and table.notna().all(axis=None)
    assert (docs / "released_runs.png").exists()
    assert f"{damaged} is left out: failed" in capsys.readouterr().err
    assert (work / f"{whole}-by-f00df00df00d").is_dir()


def test_changes_that_are_not_committed_are_refused(monkeypatch):
    monkeypatch.setattr(released_runs, "git_commit", lambda: "f00d" * 10 + "+changes")
    with pytest.raises(UserError, match="commit or stash"):
        released_runs.todays_commit()


def test_an_interrupted_extraction_begins_anew(history, tmp_path, monkeypatch):
    def interrupted(self, path, **_):
        self.extract(f"{released_runs.RELEASED}/fold0/config.yaml", path, filter="data")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(released_runs.tarfile.TarFile, "extractall", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract_run(history[0], tmp_path / "work")
    extracted = extract_run(history[0], tmp_path / "work")
    assert {path.name for path in extracted.iterdir()} == {path.name for path in RELEASED.iterdir()}
    assert [path.name for path in (tmp_path / "work").iterdir()] == [history[0]]
