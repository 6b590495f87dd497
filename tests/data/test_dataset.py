"""Datasets and loaders: draws are pure functions of seed and number, never repeat, and contain the files' values."""

import numpy as np
import pytest
import torch
from helpers import DEFAULT, write_competition
from torch.utils.data import DataLoader

from geopose.cli import UserError, run_command
from geopose.config import AugmentConfig, ModelConfig, load_config
from geopose.data.dataset import (
    CropDataset,
    DrawSampler,
    TileDataset,
    create_train_loader,
    create_valid_loader,
    random_window,
    split_fold,
)
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl, read_rgb
from geopose.io.tables import read_test_table, read_train_table


@pytest.fixture
def table(competition):
    return read_train_table(competition)


@pytest.fixture
def crops(table):
    return CropDataset(table, AugmentConfig(level="light", crop_px=16), ModelConfig(), seed=1)


def test_a_sample_holds_the_tile(table):
    sample = TileDataset(table)[3]
    row = table.iloc[3]
    assert (sample["id"], sample["city"]) == (row.id, row.city)
    assert next(iter(sample)) == "image"
    np.testing.assert_array_equal(sample["image"].numpy(), read_rgb(row.rgb).transpose(2, 0, 1))
    np.testing.assert_array_equal(sample["agl_m"][0], read_agl(row.agl))
    label = read_vflow(row.vflow, row.agl)
    assert float(sample["scale_px_per_m"]) == pytest.approx(label.scale_px_per_m)
    assert float(sample["angle_rad"]) == pytest.approx(label.angle_rad)
    assert float(sample["gsd_m"]) == pytest.approx(0.35)
    assert torch.isnan(sample["agl_m"][0, :2]).all()


def test_test_tiles_have_no_label(competition):
    sample = TileDataset(read_test_table(competition))[0]
    assert set(sample) == {"image", "gsd_m", "native_gsd_m", "id", "city"}


def test_a_draw_is_a_pure_function_of_its_number(crops):
    first = crops[5]
    _ = crops[2], crops[11]
    again = crops[5]
    assert all(np.array_equal(first[key], again[key], equal_nan=key == "agl_m") for key in first)


def test_tiles_kept_in_memory_give_the_same_crops(crops, table):
    kept = CropDataset(table, crops.cfg, ModelConfig(), seed=1, cache_mb=1)
    for draw in range(2 * len(table)):
        ours, again = kept[draw], crops[draw]
        assert all(np.array_equal(ours[key], again[key], equal_nan=key == "agl_m") for key in again)
    assert len(kept.kept) == 2 * len(table) and not crops.kept
    assert 0 < kept.room_bytes < 1_000_000
    small = CropDataset(table, crops.cfg, ModelConfig(), seed=1)
    small.room_bytes = 1  # enough for the first file, and for no other
    assert [small[draw]["id"] for draw in range(4)] and len(small.kept) == 1


def test_every_visit_sees_every_tile_once_in_another_order(crops, table):
    orders = [[crops[visit * len(table) + i]["id"] for i in range(len(table))] for visit in range(3)]
    assert all(sorted(order) == sorted(table.id) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_balanced_cities_occur_equally_often(table):
    """Cities of 8, 2, 3 and 8 tiles: a visit sees each of their tiles 1, 4, 3 and 1 times."""
    counts = {"ARG": 8, "ATL": 2, "JAX": 3, "OMA": 8}
    kept = [f"{city}_{index}" for city, count in counts.items() for index in range(count)]
    some = table.iloc[np.zeros(len(kept), dtype=int)].assign(id=kept, city=[tile_id[:3] for tile_id in kept])
    crops = CropDataset(some, AugmentConfig(level="none", crop_px=16), ModelConfig(), seed=1, balanced=True)
    seen = [crops[draw]["id"] for draw in range(len(crops))]
    assert {tile_id: seen.count(tile_id) for tile_id in kept} == {
        tile_id: {"ARG": 1, "ATL": 4, "JAX": 3, "OMA": 1}[tile_id[:3]] for tile_id in kept
    }
    assert seen != [crops[len(crops) + draw]["id"] for draw in range(len(crops))]


def test_the_setting_balances_the_cities_of_a_training(table):
    """Two tiles of ARG and one of JAX: with the setting, an epoch is four draws, two of each city."""
    some = table[table.city.isin(["ARG", "JAX"])].iloc[:3]
    for balance, expected in (("true", ["ARG", "ARG", "JAX", "JAX"]), ("false", ["ARG", "ARG", "JAX"])):
        settings = [f"data.balance_cities={balance}", "data.batch_size=1", "augment.crop_px=16"]
        loader = create_train_loader(some, load_config(DEFAULT, [*settings, "train.steps_per_epoch=null"]))
        assert sorted(city for batch in loader for city in batch["city"]) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_no_draw_repeats_over_workers_and_epochs(crops, workers):
    """All draws of two epochs are different, and they do not depend on the number of workers."""
    sampler = DrawSampler(24, rank=0, world_size=1)
    loader = DataLoader(crops, batch_size=4, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    images = []
    for epoch in (1, 2):
        sampler.epoch = epoch
        images += [image for batch in loader for image in batch["image"]]
    assert len({image.numpy().tobytes() for image in images}) == 48
    assert all(torch.equal(image, crops[draw]["image"]) for draw, image in enumerate(images))


def test_ranks_share_an_epoch_without_overlap():
    ranks = [DrawSampler(12, rank, world_size=3) for rank in range(3)]
    for rank in ranks:
        rank.epoch = 2
    draws = [list(rank) for rank in ranks]
    assert all(len(d) == 4 == len(rank) for d, rank in zip(draws, ranks, strict=True))
    assert sorted(draws[0] + draws[1] + draws[2]) == list(range(12, 24))


def test_windows_are_square_inside_and_of_the_jittered_size():
    rng = np.random.default_rng(0)
    cfg = AugmentConfig(crop_jitter=0.8)
    windows = [random_window(rng, (30, 21), 16, cfg, "tile") for _ in range(500)]
    assert all(w.width == w.height for w in windows)
    assert {w.width for w in windows} == set(range(13, 21))
    assert min(w.col_off for w in windows) == min(w.row_off for w in windows) == 0
    assert max(w.col_off + w.width for w in windows) == 21
    assert max(w.row_off + w.height for w in windows) == 30


def test_the_factor_and_the_image_limit_wide_windows():
    rng = np.random.default_rng(0)
    cfg = AugmentConfig(crop_jitter=1.0, wide_probability=0.4, wide_factor=3.0)
    sides = np.array([random_window(rng, (50, 40), 16, cfg, "tile").width for _ in range(2000)])
    assert sides.min() == 16 and sides.max() == 40
    assert (sides == 16).mean() == pytest.approx(0.6, abs=0.05)
    # Sides are uniform in the logarithm from 16 to 48 px, and at most as large as the image.
    wide = sides[sides > 16]
    assert (wide < 16 * np.sqrt(3)).mean() == pytest.approx(0.5, abs=0.05)
    assert (wide == 40).mean() == pytest.approx(np.log(48 / 40) / np.log(3), abs=0.05)


def test_a_wide_crop_is_coarser_and_has_its_files_gsd(table):
    cfg = AugmentConfig(level="none", crop_px=12, crop_jitter=1.0, wide_probability=1.0)
    crops = CropDataset(table, cfg, ModelConfig(), seed=1)
    samples = [crops[draw] for draw in range(len(crops))]
    assert all(sample["image"].shape == (3, 12, 12) for sample in samples)
    assert all(float(sample["native_gsd_m"]) == pytest.approx(0.35) for sample in samples)
    gsds_m = [float(sample["gsd_m"]) for sample in samples]
    assert 0.35 - 1e-6 < min(gsds_m) < 0.45 and 0.55 < max(gsds_m) < 0.7 + 1e-6
    for sample in samples:
        row = table[table.id == sample["id"]].iloc[0]
        label = read_vflow(row.vflow, row.agl)
        assert float(sample["scale_px_per_m"] * sample["gsd_m"]) == pytest.approx(label.scale_px_per_m * 0.35, rel=1e-5)


def test_tall_crops_show_higher_places_of_the_same_city(table):
    cfg = AugmentConfig(level="none", crop_px=12, crop_jitter=1.0)
    tall = AugmentConfig(level="none", crop_px=12, crop_jitter=1.0, tall_probability=1.0)
    usual, chosen = (CropDataset(table, c, ModelConfig(), seed=1) for c in (cfg, tall))
    pairs = [(usual[draw], chosen[draw]) for draw in range(40)]
    heights_m = np.array([[np.nanmean(sample["agl_m"].numpy()) for sample in pair] for pair in pairs])
    assert (heights_m[:, 1] >= heights_m[:, 0] - 1e-3).all()  # the usual crop is one of the candidates
    assert heights_m[:, 1].mean() > heights_m[:, 0].mean()
    assert [a["city"] for a, _ in pairs] == [b["city"] for _, b in pairs]
    again = CropDataset(table, tall, ModelConfig(), seed=1)[3]
    assert torch.equal(again["image"], chosen[3]["image"])


def test_a_crop_larger_than_the_tile_is_refused(table):
    with pytest.raises(UserError, match=r"24x32 is smaller than a crop of 64 px; lower augment.crop_px"):
        CropDataset(table, AugmentConfig(crop_px=64), ModelConfig(), seed=1)[0]


def test_a_users_mistake_in_a_loaders_worker_is_one_line(table, capsys):
    dataset = CropDataset(table, AugmentConfig(crop_px=64), ModelConfig(), seed=1)
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: next(iter(DataLoader(dataset, num_workers=1))))
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {table.rgb[0].rsplit('/', 1)[0]}")
    assert error.endswith("24x32 is smaller than a crop of 64 px; lower augment.crop_px\n") and error.count("\n") == 1


def test_crops_keep_the_laws(crops):
    """scale * gsd is that of the tile, because neither crops nor rotations change the off-nadir angle."""
    for draw in range(8):
        sample = crops[draw]
        row = crops.table[crops.table.id == sample["id"]].iloc[0]
        label = read_vflow(row.vflow, row.agl)
        assert float(sample["scale_px_per_m"] * sample["gsd_m"]) == pytest.approx(label.scale_px_per_m * 0.35, rel=1e-5)
        assert sample["image"].shape == (3, 16, 16)
        assert sample["agl_m"].shape == (1, 16, 16)


@pytest.mark.parametrize("zoom", [2.0, 0.8])
def test_crops_have_the_resolution_of_the_network(table, zoom):
    """A network that sees the image at twice its size gets crops with half the side, and so half the gsd."""
    sample = CropDataset(
        table, AugmentConfig(level="none", crop_px=16, crop_jitter=1.0), ModelConfig(input_zoom=zoom), seed=1
    )[0]
    row = table[table.id == sample["id"]].iloc[0]
    assert sample["image"].shape == (3, 16, 16)
    assert float(sample["gsd_m"]) == pytest.approx(0.35 / zoom)
    assert float(sample["scale_px_per_m"]) == pytest.approx(read_vflow(row.vflow, row.agl).scale_px_per_m * zoom)


def write_folds(root, ids, folds):
    rows = [f"{i},{i.split('_')[0]},{fold}" for i, fold in zip(ids, folds, strict=True)]
    path = root / "folds.csv"
    path.write_text("\n".join(["id,city,fold", *rows]) + "\n")
    return path


def test_a_fold_splits_train_and_validation(tmp_path):
    ids = write_competition(tmp_path / "data")
    folds = write_folds(tmp_path, ids, [0, 1] * 4)
    config = load_config(DEFAULT, [f"data.root={tmp_path / 'data'}", f"data.folds={folds}", "data.fold=1"])
    train, valid, _ = split_fold(config)
    assert valid.id.tolist() == ids[1::2]
    assert train.id.tolist() == ids[0::2]

    once = ["augment.crop_px=16", "data.batch_size=2", "train.steps_per_epoch=null"]
    train_loader = create_train_loader(train, load_config(DEFAULT, once))
    assert len(train_loader) == 2
    shards = [create_valid_loader(valid, config, rank, 3) for rank in range(3)]
    seen = [batch["id"][0] for shard in shards for batch in shard]
    assert sorted(seen) == sorted(valid.id)


def test_a_fold_that_does_not_exist_is_refused(tmp_path):
    ids = write_competition(tmp_path / "data")
    folds = write_folds(tmp_path, ids, [0, 1] * 4)
    config = load_config(DEFAULT, [f"data.root={tmp_path / 'data'}", f"data.folds={folds}", "data.fold=7"])
    with pytest.raises(UserError, match=r"data.fold=7 leaves no tile for validation; there are folds \[0, 1\]"):
        split_fold(config)


def test_bad_tiles_end_the_run_or_are_excluded_and_listed(tmp_path):
    """A truncated image has no fault in its header. skip reads all tiles first."""
    ids = write_competition(tmp_path / "data", size=(64, 64))
    folds = write_folds(tmp_path, ids, [0, 1] * 4)
    paths = [f"data.root={tmp_path / 'data'}", f"data.folds={folds}", "data.fold=1"]
    bad = tmp_path / "data" / "train" / f"{ids[0]}_RGB.tif"
    bad.write_bytes(bad.read_bytes()[:-2000])
    train, _, left_out = split_fold(load_config(DEFAULT, paths))
    assert len(train) == 4 and left_out == {}
    crops = CropDataset(train, AugmentConfig(crop_px=60), ModelConfig(), seed=1)
    with pytest.raises(UserError, match=rf"{bad.name}: truncated"):
        [crops[draw] for draw in range(len(crops))]

    train, valid, left_out = split_fold(load_config(DEFAULT, [*paths, "data.on_bad_tile=skip"]))
    assert ids[0] not in train.id.tolist() and len(train) == 3 and len(valid) == 4
    assert list(left_out) == [ids[0]] and "truncated" in left_out[ids[0]]
