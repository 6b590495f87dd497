"""Ways to blend runs are predicted by the predict command, scored and tabulated; missing runs are named."""

import json
import math
import shutil
import sys

import pytest
from helpers import REPO, ok, run

from geopose.cli import UserError
from geopose.inference.command import create_parser
from geopose.runs import blending
from geopose.runs.blending import Way, count_weights, format_ways, read_ways, refuse_missing
from geopose.runs.folder import read_manifest, write_manifest
from geopose.synthetic.dataset import GENERATOR

LIST = REPO / "configs" / "blend" / "lite0.yaml"


def write_list(path, rows, **runs):
    path.write_text(json.dumps({"runs": {name: str(run) for name, run in runs.items()}, "parts": {"views": rows}}))
    return path


def test_the_list_of_the_repository_has_flags_of_predict_and_runs_that_make_blend_trains():
    ways = read_ways(LIST)
    makefile = (REPO / "Makefile").read_text()
    for way in ways:
        create_parser().parse_args(["--data", "data", "--runs", *map(str, way.runs), *way.flags])
        assert all(
            f" {'/'.join(run.parts[-2:])}" in makefile and run.parts[:2] == ("runs", "blend") for run in way.runs
        )
    wanted = {(way.part, way.name): way for way in ways}
    assert [way.name for way in ways if way.part == "views"] == ["none", "flips", "d2", "d4"]
    assert wanted["checkpoints of a run", "five"].checkpoints == 5
    assert len({run.parent for run in wanted["architectures", "one fold of each"].runs}) == 2
    assert {way.write_up for way in ways} == {"", "+0.005 to +0.01", "-0.0004"}


def test_the_table_holds_the_scores_of_the_tarballs_that_predict_writes(job, monkeypatch, tmp_path):
    rows = [
        {"name": "none", "runs": ["a"], "flags": ["--tta", "none"]},
        {"name": "flips", "runs": ["a"], "flags": ["--tta", "flips"], "write_up": "more"},
        {"name": "none again", "runs": ["a"], "flags": ["--tta", "none"]},
    ]
    trained = shutil.copytree(job / "runs" / "fold0", tmp_path / "fold0")
    write_manifest(trained, read_manifest(trained) | {"git_commit": "feed" * 10})
    listed, out = write_list(job / "ways.yaml", rows, a=trained), job / "docs" / "blending.md"
    predicted = []
    monkeypatch.setattr(blending, "run_process", lambda *words: predicted.append(ok(run("-m", "geopose", *words))))
    words = [str(listed), "--data", str(job / "data"), "--work", str(job / "blend"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["blend", *words])
    assert not blending.main()
    assert "is up to date" in predicted[2] and len(list((job / "blend").glob("*.tar.gz"))) == 2
    title, origin, _, *table = [line for line in out.read_text().splitlines() if line]
    assert title.startswith("# ") and origin.startswith(f"Commit feedfeedfeed, generator {GENERATOR}, ")
    none, flips, again = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:])
    own = Way("views", "flips", (trained,), ("--tta", "flips")).tarball(job / "blend")
    ok(run("-m", "geopose", "evaluate", "--truth", job / "data" / "truth", "--pred", own, "--json", job / "own.json"))
    r2 = json.loads((job / "own.json").read_text())["final_r2"]
    assert float(flips[2]) == pytest.approx(r2, abs=6e-5)
    assert (none[3], flips[-1], again[3]) == ("", "more", "+0.0000")
    assert float(flips[3]) == pytest.approx(float(flips[2]) - float(none[2]), abs=2e-4)
    assert none[2] != flips[2]


def test_each_missing_run_is_named_once_with_a_row(tmp_path):
    run_dir = tmp_path / "fold0"
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "checkpoints" / "one.safetensors").touch()
    (run_dir / "manifest.json").write_text(json.dumps({"checkpoints": [{"file": "one.safetensors"}]}))
    rows = [
        {"name": "good", "runs": ["a"], "flags": ["--checkpoint-weights", 1]},
        {"name": "three", "runs": ["a"], "flags": ["--checkpoint-weights", 1, 1, 1, "--tta", "none"]},
        {"name": "both", "runs": ["a", "b"]},
        {"name": "again", "runs": ["b"]},
    ]
    ways = read_ways(write_list(tmp_path / "ways.yaml", rows, a=run_dir, b=tmp_path / "none"))
    refuse_missing(ways[:1])
    with pytest.raises(UserError) as error:
        refuse_missing(ways)
    assert f"{run_dir} kept 1 checkpoints, not 3 (views, three); " in str(error.value)
    assert f"{tmp_path / 'none'} is no finished run (views, both); train" in str(error.value)


def test_a_table_that_cannot_be_written_is_refused_before_anything_is_predicted(job, monkeypatch, tmp_path):
    listed = write_list(tmp_path / "ways.yaml", [{"name": "none", "runs": ["a"]}], a=job / "runs" / "fold0")
    monkeypatch.setattr(blending, "run_process", lambda *_: pytest.fail("predicted"))
    monkeypatch.setattr(sys, "argv", ["blend", str(listed), "--data", str(job / "data"), "--out", str(tmp_path)])
    with pytest.raises(UserError, match="is a folder"):
        blending.main()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"name": "x", "runs": ["c"]}, "views, x: no run is named c; there are a, b"),
        ({"name": "x", "runs": ["a"], "flgas": []}, "views, x: give name, runs"),
        ({"runs": ["a"]}, "give name, runs"),
    ],
)
def test_a_mistake_in_a_list_is_named(tmp_path, row, words):
    with pytest.raises(UserError, match=words):
        read_ways(write_list(tmp_path / "ways.yaml", [row], a="x", b="y"))
    (tmp_path / "empty.yaml").write_text("runs: {}\n")
    with pytest.raises(UserError, match="missing or unknown keys parts"):
        read_ways(tmp_path / "empty.yaml")


def test_weights_are_counted_up_to_the_next_flag():
    assert count_weights(("--checkpoint-weights", "1", "2", "--tta", "none")) == 2
    assert count_weights(("--tta", "none")) == 1


def test_changes_count_from_the_first_row_of_their_part():
    ways = [Way(part, name, ()) for part in ("views", "folds") for name in ("one", "two")]
    city = {"agl_r2": 0.5, "vflow_r2": 0.25, "angle_error_deg": 3.0}
    cities = {"ARG": city, "OMA": city | {"angle_error_deg": math.nan}}
    table = format_ways(ways, [{"final_r2": r2, "cities": cities} for r2 in (0.1, 0.3, 0.6, 0.5)]).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:]]
    assert [row[3] for row in rows] == ["", "+0.2000", "", "-0.1000"]
    assert {row[6] for row in rows} == {"3.0°"}
