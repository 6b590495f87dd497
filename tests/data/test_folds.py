"""The three splits, on tables as large as the challenge's and on tiny ones."""

import importlib.util
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from helpers import CITIES, REPO, assert_user_error, run, write_competition, write_tables, write_tif

from geopose.cli import UserError
from geopose.data import near_duplicates
from geopose.data.folds import count_table, find_places, make_folds, scarce_cities
from geopose.data.near_duplicates import feature_encoder, image_features
from geopose.io.tables import read_folds, read_places, read_train_table, write_csv
from geopose.models.weights import LITE0, load_lite0_weights

GROUP_NOTE = "note: 4 folds instead of 8, one per city\n"
REAL_COUNTS = {"ARG": 2325, "ATL": 704, "JAX": 1098, "OMA": 1796}


@pytest.fixture(scope="module")
def real_shape(tmp_path_factory):
    """A folder with the challenge's 5,923 rows and no images, and places of 1 to 12 tiles."""
    root = tmp_path_factory.mktemp("real")
    ids = [f"{city}_{number:06d}" for city, count in REAL_COUNTS.items() for number in range(count)]
    np.random.default_rng(0).shuffle(ids)
    write_tables(root, ids, bare=True)
    rng = np.random.default_rng(1)
    places = [f"{tile_id[:3]}{rng.integers(REAL_COUNTS[tile_id[:3]] // 5)}" for tile_id in ids]
    pd.DataFrame({"id": ids, "place": places}).to_csv(root / "places.csv", index=False)
    return root


def spread(folds: pd.DataFrame) -> pd.DataFrame:
    return pd.crosstab(folds.city, folds.fold)


# --- the challenge's table --------------------------------------------------------------------------------------


def test_stratified_folds_hold_every_city_in_proportion(real_shape):
    folds = make_folds(real_shape)
    assert list(folds.columns) == ["id", "city", "fold"]
    assert sorted(folds.id) == sorted(read_train_table(real_shape).id)
    table = spread(folds)
    assert table.sum(axis=1).to_dict() == REAL_COUNTS
    assert (table.max(axis=1) - table.min(axis=1) <= 1).all()
    assert table.sum().max() - table.sum().min() <= 1
    assert make_folds(real_shape).equals(folds)
    assert not make_folds(real_shape, seed=43).equals(folds)


@pytest.mark.parametrize(
    ("num_folds", "expected"),
    [
        (10, {"ARG": 0, "ATL": 1, "JAX": 2, "OMA": 3}),
        (4, {"ARG": 0, "ATL": 1, "JAX": 2, "OMA": 3}),
        (2, {"ARG": 0, "ATL": 0, "JAX": 1, "OMA": 1}),
    ],
)
def test_group_keeps_each_city_in_one_fold(real_shape, num_folds, expected):
    folds = make_folds(real_shape, "group", num_folds)
    assert dict(zip(folds.city, folds.fold, strict=True)) == expected
    assert (folds.groupby("city").fold.nunique() == 1).all()


def test_cluster_keeps_the_tiles_of_a_place_in_one_fold(real_shape):
    folds = make_folds(real_shape, "cluster")
    places = read_places(real_shape)
    assert (folds.fold.groupby(places[folds.id].to_numpy()).nunique() == 1).all()
    table = spread(folds)
    assert (table.max(axis=1) - table.min(axis=1) <= 12).all()  # the number of tiles in the largest place
    assert make_folds(real_shape, "cluster").equals(folds)


def test_folds_can_be_read_back(real_shape, tmp_path):
    folds = make_folds(real_shape)
    write_csv(folds, tmp_path / "folds.csv")
    read = read_folds(tmp_path / "folds.csv", read_train_table(real_shape))
    assert read[folds.id].tolist() == folds.fold.tolist()


# --- small tables -----------------------------------------------------------------------------------------------


def test_impossible_numbers_of_folds_are_refused(tmp_path):
    write_tables(tmp_path, [f"{city}_{suffix}" for city in CITIES for suffix in ("aaaaaa", "bbbbbb")])
    assert (spread(make_folds(tmp_path, num_folds=2)) == 1).all(axis=None)
    with pytest.raises(UserError, match="too few tiles or places for this many folds"):
        make_folds(tmp_path, num_folds=3)
    for num_folds in (9, 1, 0, -3):
        with pytest.raises(UserError, match="folds of 8 tiles"):
            make_folds(tmp_path, num_folds=num_folds)
    with pytest.raises(UserError, match="stratified, group, cluster"):
        make_folds(tmp_path, split="random", num_folds=2)


def test_a_scarce_city_is_reported(tmp_path):
    write_tables(tmp_path, ["ARG_a", *(f"JAX_{number}" for number in range(6))])
    folds = make_folds(tmp_path, num_folds=3)
    assert sorted(folds.fold.value_counts()) == [2, 2, 3]
    assert scarce_cities(folds) == ["ARG"]


def test_a_single_city_has_folds_but_no_groups(tmp_path):
    write_tables(tmp_path, ["PAR_a", "PAR_b", "PAR_c"])
    assert sorted(make_folds(tmp_path, num_folds=3).fold) == [0, 1, 2]
    with pytest.raises(UserError, match="group needs more than one city"):
        make_folds(tmp_path, "group", 3)


def test_too_few_places_are_refused(tmp_path):
    """Six tiles of two places cannot fill three folds. The command must not write an empty fold."""
    ids = [f"ARG_{number}" for number in range(6)]
    write_tables(tmp_path, ids)
    pd.DataFrame({"id": ids, "place": [0, 0, 0, 1, 1, 1]}).to_csv(tmp_path / "places.csv", index=False)
    assert make_folds(tmp_path, "cluster", 2).fold.nunique() == 2
    with pytest.raises(UserError, match="choose fewer"):
        make_folds(tmp_path, "cluster", 3)


def test_equal_place_names_of_two_cities_are_two_places(tmp_path):
    ids = [f"{city}_{number}" for city in ("ARG", "JAX") for number in range(4)]
    write_tables(tmp_path, ids)
    pd.DataFrame({"id": ids, "place": [0, 0, 1, 1] * 2}).to_csv(tmp_path / "places.csv", index=False)
    assert (spread(make_folds(tmp_path, "cluster", 2)) == 2).all(axis=None)


def test_row_order_changes_nothing(tmp_path):
    ids = [f"{city}_{number:06d}" for city in CITIES for number in range(9)]
    write_tables(tmp_path / "a", ids)
    write_tables(tmp_path / "b", ids[::-1])
    assert make_folds(tmp_path / "a", num_folds=4).equals(make_folds(tmp_path / "b", num_folds=4))


def test_places_must_cover_every_tile(tmp_path):
    write_tables(tmp_path, ["ARG_a", "ARG_b"])
    (tmp_path / "places.csv").write_text("id,place\nARG_a,1\n")
    with pytest.raises(UserError, match=r"places.csv: no place for 1 ids \(ARG_b"):
        make_folds(tmp_path, "cluster", 2)


def test_the_printed_table_has_totals(tmp_path):
    write_tables(tmp_path, ["ARG_a", "ARG_b", "JAX_c"])
    table = count_table(make_folds(tmp_path, num_folds=2))
    assert table.loc["ARG", "all"] == 2
    assert table.loc["all", "all"] == 3


# --- places from images -----------------------------------------------------------------------------------------


def test_near_duplicates_share_a_fold(tmp_path):
    """Each scene has two images, the second darker and shifted by 8 px. Both must be in one fold."""
    ids = write_competition(tmp_path / "c", per_city=4, cities=("ARG", "JAX"))
    rng = np.random.default_rng(5)
    for number in range(0, len(ids), 2):
        blocks = rng.integers(0, 255, (2 + 3 * (number % 4), 3, 3), dtype=np.uint8)
        grain = rng.normal(60, 25, (336, 336, 1))
        scene = cv2.resize(blocks, (336, 336), interpolation=cv2.INTER_NEAREST) / 2 + grain
        for tile_id, view in zip(ids[number:], (scene[:320, :320], 0.97 * scene[8:328, 8:328]), strict=False):
            rgb = view.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)
            write_tif(tmp_path / "c" / "train" / f"{tile_id}_RGB.tif", rgb)
    folds = make_folds(tmp_path / "c", "cluster", 2, threshold=0.05)  # drawn scenes differ less than real ones
    assert make_folds(tmp_path / "c", "cluster", 2, threshold=0.05).equals(folds)
    by_id = folds.set_index("id").fold
    for first, second in zip(ids[::2], ids[1::2], strict=True):
        assert by_id[first] == by_id[second]
    assert (spread(folds) == 2).all(axis=None)
    table = read_train_table(tmp_path / "c")
    apart = find_places(tmp_path / "c", table, threshold=1e-9, encoder=None)
    assert len(set(zip(table.city, apart, strict=True))) == 8


def test_features_have_the_order_of_their_images(competition, monkeypatch, capsys):
    """More images than a batch has: threads read the next ones. Without a terminal, one line says how long it takes."""
    monkeypatch.setattr(near_duplicates, "BATCH", 4)
    monkeypatch.setattr(near_duplicates, "PACE_BATCHES", 2)
    paths = read_train_table(competition).rgb.tolist()
    features = image_features([*paths, paths[0], paths[3]], LITE0)
    assert capsys.readouterr().err.startswith("comparing 10 images")
    assert len(features) == len(paths) + 2 and len(np.unique(features.round(3), axis=0)) == len(paths)
    np.testing.assert_allclose(features[-2:], features[[0, 3]], rtol=1e-3, atol=1e-4)


def test_features_are_pooled_and_finite(competition):
    features = image_features(read_train_table(competition).rgb[:3], LITE0)
    assert features.shape == (3, 1280)
    assert np.isfinite(features).all()


def test_unknown_encoder_names_others():
    with pytest.raises(UserError, match=r"no encoder 'resnet1'.*resnet1"):
        feature_encoder("resnet1")


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"features_only": True}, {"num_classes": 1000}])
def test_lite0_weights_fill_the_whole_model(options):
    model = timm.create_model(LITE0, **options)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(77)
    load_lite0_weights(model)
    assert not any((tensor == 77).all() for name, tensor in model.state_dict().items() if "tracked" not in name)


def test_lite0_weights_refuse_another_model():
    with pytest.raises(ValueError, match="3 input channels"):
        load_lite0_weights(timm.create_model(LITE0, in_chans=4))
    with pytest.raises(ValueError, match="3 input channels"):
        load_lite0_weights(timm.create_model("resnet18"))


# --- command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command():
    """main() of make_folds.py, for calls in this process, because each new Python process takes seconds."""
    spec = importlib.util.spec_from_file_location("make_folds_script", REPO / "make_folds.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.main


def test_the_script_writes_a_table_that_training_reads(competition, tmp_path):
    out = tmp_path / "new" / "folds.csv"
    result = run("make_folds.py", "--data", competition, "--out", out, "--num-folds", 2)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "OMA" in result.stdout
    assert len(read_folds(out, read_train_table(competition))) == 8


def test_the_command_reads_no_images(competition, tmp_path, command, monkeypatch, capsys):
    shutil.rmtree(competition / "train")
    for split, num_folds in (("stratified", "2"), ("group", "8")):
        out = tmp_path / f"{split}.csv"
        options = ["--data", str(competition), "--out", str(out), "--split", split, "--num-folds", num_folds]
        monkeypatch.setattr("sys.argv", ["make_folds.py", *options])
        command()
        assert out.exists()
        assert capsys.readouterr().err == ("" if split == "stratified" else GROUP_NOTE)


def test_a_mistake_is_one_line_and_writes_no_folds(competition, tmp_path):
    out = tmp_path / "folds.csv"
    result = run("make_folds.py", "--data", competition, "--out", out, "--num-folds", 20)
    assert_user_error(result, "20 folds of 8 tiles")
    assert not out.exists()
    assert_user_error(run("make_folds.py", "--data", competition, "--out", out, "--split", "x"), "stratified")
    assert_user_error(run("make_folds.py", "--data", competition, "--out", out, "--seed", -1), "--seed -1: must lie in")
    for threshold in ("-0.1", "nan"):
        with pytest.raises(UserError, match=rf"--threshold {threshold}: a cosine distance lies in \[0, 2\]"):
            make_folds(competition, "cluster", 2, threshold=float(threshold))
