"""The two ways that `make bench` compares give the same answers; a user's mistake is reported in one line."""

import cProfile
import json
import re
import sys

import numpy as np
import pytest
from helpers import RELEASED, REPO, assert_user_error, ok, run, run_alone, write_competition

from geopose.bench import command, inputs
from geopose.bench.command import measure_probe
from geopose.bench.lean import measure, perfect_ground, places_of_test_half, see_twice, summarise
from geopose.bench.lean_page import describe_lean
from geopose.bench.process import MAKEFILE_ALLOCATOR
from geopose.bench.rectify import rectify_by_sorting
from geopose.bench.renderer import RENDER_PARTS
from geopose.bench.score import score_in_two_passes
from geopose.bench.table import Row, format_table
from geopose.bench.timing import alternate, peak_memory_mb, time_shares
from geopose.cli import UserError
from geopose.inference.rectify import rectify
from geopose.scoring.evaluate import evaluate
from geopose.synthetic.dataset import Options, make_dataset


def test_both_ways_of_scoring_agree(tmp_path):
    write_competition(tmp_path)
    expected = evaluate(tmp_path / "truth", tmp_path / "train").scores["final_r2"]
    assert score_in_two_passes(tmp_path / "truth", tmp_path / "train") == pytest.approx(expected, abs=1e-9)


def test_both_ways_of_rectifying_agree_where_nothing_is_torn():
    rng = np.random.default_rng(4)
    rgb = rng.integers(1, 255, (40, 50, 3), dtype=np.uint8)
    agl_m = np.zeros((40, 50), np.float32)
    agl_m[10:20, 20:30], agl_m[25:35, 5:20] = 6.0, 3.0  # flat roofs that move by whole pixels
    common, ours = rectify_by_sorting(rgb, agl_m, 1.0, 0.0), rectify(rgb, agl_m, 1.0, 0.0)
    for one, other in zip(vars(common).values(), vars(ours).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert common.hidden.sum() == 6 * 10 + 3 * 15


def test_figures_of_lean_removal_are_best_for_the_render_and_better_for_ours():
    options = Options(train=4, test=4, size=160, seed=12)
    totals = {}
    for place in places_of_test_half(options)[:2]:
        seen = see_twice(place, options)
        pose = (seen.pose.scale_px_per_m, seen.pose.angle_rad)
        grounds = {
            "render": perfect_ground(seen),
            "ours": rectify(seen.rgb, seen.agl_m, *pose),
            "common": rectify_by_sorting(seen.rgb, seen.agl_m, *pose),
        }
        for name, ground in grounds.items():
            totals[name] = totals.get(name, 0) + measure(ground, seen)
    render, ours, common = (summarise(total) for total in totals.values())
    assert render.recall == render.precision == 1 and 0 < render.hidden < 0.5
    assert 1 > render.roof_iou > ours.roof_iou > common.roof_iou > 0.3  # a hidden roof is no roof of the perfect ground
    assert ours.precision > common.precision
    assert 0 < ours.filled < ours.mean_colour


def test_the_page_about_lean_has_every_figure_of_every_way():
    page = describe_lean(RELEASED, Options(train=4, test=4, size=160, seed=12))
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    assert [row[:2] for row in rows[1:]] == [
        ["true", "the render from above"],
        *([kind, way] for kind in ("true", "predicted") for way in ("sorting", "surface")),
    ]
    figures = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert figures[0]["recall"] == figures[0]["precision"] == "1.00"
    for row in figures:
        assert 100 > float(row["hidden"].removesuffix(" %")) > float(row["specks"].removesuffix(" %")) >= 0
        assert all(0 < float(row[name]) <= 1 for name in ("recall", "precision", "IoU of roofs"))
        assert 0 < float(row["filled"]) < float(row["mean colour"]) < 255
    true, predicted = (figures[index] for index in (2, 4))
    assert float(true["IoU of roofs"]) > float(predicted["IoU of roofs"])
    assert "4 test tiles of 160 px" in page and f"--lean {RELEASED} --out docs" in page


def test_a_missing_run_is_refused_by_the_page_about_lean(tmp_path):
    assert_user_error(run("-m", "geopose", "bench", "--lean", str(tmp_path / "no")), "no finished run")
    assert_user_error(run("-m", "geopose", "bench", "--lean", str(tmp_path), "--compile"), "--compile")


def test_inputs_are_made_only_for_a_measurement_that_asks(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(inputs, "render", lambda folder, options: made.append(options.size) or folder)
    given = inputs.Inputs(tmp_path, tmp_path / "run")
    assert given.trained == tmp_path / "run" and made == []
    assert [given.large, given.large] == [tmp_path / "large"] * 2 and made == [inputs.LARGE_PX]


def test_functions_are_called_alternately():
    calls = []
    times = alternate(lambda: calls.append("a"), lambda: calls.append("b"), repeats=3)
    assert calls == list("ababab") and len(times) == 2


def test_the_table_names_the_machine():
    table = format_table([Row("crop", "1 ms", "8 ms", 8.0, "8 or more")])
    assert table.startswith("Machine: ") and "| crop | 1 ms | 8 ms | 8 | 8 or more |" in table


def test_shares_of_a_profile_add_up():
    def slow():
        return sum(range(400_000))

    def quick():
        return sum(range(4_000))

    def whole():
        slow(), quick()

    with cProfile.Profile() as profile:
        whole()
    shares = time_shares(profile, "whole", ("slow", "quick"))
    slow_share, quick_share = (int(word.rstrip("%,")) for word in shares.split()[1::2])
    assert slow_share > 80 and quick_share < 15
    with pytest.raises(UserError, match="no function absent"):
        time_shares(profile, "whole", ("slow", "absent"))


def test_the_renderer_has_the_functions_whose_shares_are_measured(tmp_path):
    with cProfile.Profile() as profile:
        make_dataset(tmp_path, Options(train=4, test=4, size=64), workers=1)
    assert len(time_shares(profile, "make_dataset", RENDER_PARTS).split(", ")) == len(RENDER_PARTS)


def test_help_does_not_import_catalyst():
    code = "import sys, geopose.bench.command; print('catalyst' in sys.modules)"
    assert ok(run_alone("-c", code)).strip() == "False"


def test_an_unknown_item_is_refused():
    assert_user_error(run("-m", "geopose", "bench", "--only", "stor"), "stor", "store")


def bench_with(monkeypatch, items, *words) -> None:
    """The command in this process, with other items."""
    monkeypatch.setattr(command, "ITEMS", items)
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, words)])
    assert not command.main()


def test_what_was_measured_is_kept_when_a_later_item_fails(monkeypatch, tmp_path):
    def fails(_):
        raise UserError("disk is full")

    items = {"first": lambda _: [Row("crop", "1 ms", "8 ms", 8.0, "8 or more")], "second": fails}
    with pytest.raises(UserError, match="disk is full"):
        bench_with(monkeypatch, items, "--out", tmp_path / "bench")
    assert [row["item"] for row in json.loads((tmp_path / "bench" / "bench.json").read_text())["rows"]] == ["crop"]
    assert "| crop | 1 ms |" in (tmp_path / "bench" / "bench.md").read_text()


def test_a_run_or_folder_that_cannot_be_used_is_refused_before_anything_is_measured(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    items = {"first": lambda _: pytest.fail("measured")}
    for flag, path, words in (("--run", "no", "no finished run"), ("--out", "file", "is a file")):
        with pytest.raises(UserError, match=words):
            bench_with(monkeypatch, items, flag, tmp_path / path)


def test_an_unknown_probe_is_refused():
    with pytest.raises(UserError, match=r"d5 is unknown.*d4"):
        measure_probe("d5", "runs/x")


def test_the_peak_of_a_process_does_not_contain_its_parents():
    ballast = np.ones(50_000_000)  # 400 MB
    code = "from geopose.bench.timing import peak_memory_mb; print(peak_memory_mb())"
    assert peak_memory_mb() > ballast.nbytes / 2**20 > 4 * float(ok(run_alone("-c", code)))


def test_a_forgotten_peak_does_not_count():
    """In a process of its own, whose allocator gives memory back."""
    code = (
        "from geopose.bench.timing import forget_peak, peak_memory_mb; bytearray(b'x' * 300_000_000); "
        "before_mb = peak_memory_mb(); forget_peak(); print(before_mb - peak_memory_mb())"
    )
    settings = dict.fromkeys(MAKEFILE_ALLOCATOR, "1000000")  # blocks of more than 1 MB go back at once
    assert float(ok(run_alone("-c", code, **settings))) > 200


def test_the_allocator_is_measured_as_the_makefile_sets_it():
    text = (REPO / "Makefile").read_text()
    assert dict(re.findall(r"^export (MALLOC_\w+) = (\d+)$", text, re.MULTILINE)) == MAKEFILE_ALLOCATOR
