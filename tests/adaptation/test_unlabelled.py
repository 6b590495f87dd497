"""The images that self-training uses, and their crops; what cannot be used ends in one line."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers import config_of, write_tif
from rasterio.transform import from_origin

from geopose.adaptation.unlabelled import (
    UnlabelledCrops,
    create_unlabelled_loader,
    read_unlabelled,
    warn_of_unknown_poses,
)
from geopose.cli import UserError
from geopose.data.store import prepare
from geopose.geometry import D4_MATRICES, Pose, apply_d4, transform_pose
from geopose.io.image_folder import fingerprint_unlabelled, list_images
from geopose.io.rasters import read_rgb


def write_images(folder, count: int = 1, size: tuple[int, int] = (40, 48), bands: int = 3, dtype=np.uint8, **profile):
    """Images of noise; north-up with pixels of 0.5 m, if profile holds crs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    if "crs" in profile:
        profile["transform"] = from_origin(500_000, 5_000_000, 0.5, 0.5)
    for number in range(count):
        write_tif(folder / f"scene{number}.tif", rng.integers(0, 255, (bands, *size)).astype(dtype), **profile)


def table_of(tiny_data, tmp_path, folder, *overrides):
    return read_unlabelled(config_of(tiny_data, tmp_path / "run", f"train.unlabelled={folder}", *overrides))


def test_a_competition_folder_gives_its_images_and_no_label(tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "other")
    table = table_of(tiny_data, tmp_path, data)
    assert len(table) == 16 and all(path.endswith("_RGB.tif") for path in table.rgb)
    assert set(table.city) == {"ARG", "ATL", "JAX", "OMA"} and set(table.gsd_m) == {0.35}
    assert table.angle_rad.isna().all() and table.scale_px_per_m.isna().all()
    assert len(table_of(tiny_data, tmp_path, data / "train")) == 8  # a copy elsewhere is not the labelled half
    for file in (*data.rglob("*_AGL.tif"), *data.rglob("*_VFLOW.json"), data / "geopose_train.csv"):
        file.unlink()
    assert table_of(tiny_data, tmp_path, data).equals(table)


def test_training_tiles_are_never_unlabelled_images(tiny_data, tmp_path):
    assert all("/test/" in path for path in table_of(tiny_data, tmp_path, tiny_data).rgb)
    (tmp_path / "link").symlink_to(tiny_data / "train")
    for folder in (tiny_data / "train", tmp_path / "link"):
        with pytest.raises(UserError, match=r"holds only training tiles of .*; give other images, for example .*test"):
            table_of(tiny_data, tmp_path, folder)


def test_prepared_copies_are_read_and_change_no_fingerprint(tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "other")
    before = fingerprint_unlabelled(data, tiny_data)
    assert prepare(data, 1)[0] == 24
    assert all("/prepared/test/" in path for path in table_of(tiny_data, tmp_path, data / "test").rgb)
    assert fingerprint_unlabelled(data, tiny_data) == before
    (data / "test" / "ARG_aaaaaa_RGB.tif").unlink()
    assert fingerprint_unlabelled(data, tiny_data) != before


def test_any_images_have_their_gsd_and_pose_from_metadata(tiny_data, tmp_path):
    write_images(tmp_path / "images", 2, crs="EPSG:32633")
    (tmp_path / "images" / "scene0_AGL.tif").write_text("not read")
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    view = {"view:azimuth": 90, "view:incidence_angle": 20}
    item = {"type": "Feature", "stac_version": "1.0.0", "properties": view}
    (tmp_path / "images" / "scene1.json").write_text(json.dumps(item))
    assert len(list_images(tmp_path / "images")) == 2
    table = table_of(tiny_data, tmp_path, tmp_path / "images").set_index("id")
    assert table.gsd_m.tolist() == pytest.approx([0.5, 0.5], rel=2e-3)
    assert np.isnan(table.angle_rad["scene0"]) and np.isnan(table.scale_px_per_m["scene0"])
    assert table.angle_rad["scene1"] == pytest.approx(np.pi / 2, abs=0.02)  # towards the satellite in the east
    assert table.scale_px_per_m["scene1"] * 0.5 == pytest.approx(np.tan(np.radians(20)), rel=5e-3)
    given = table_of(tiny_data, tmp_path, tmp_path / "images", "train.unlabelled_gsd_m=0.3")
    assert given.gsd_m.tolist() == [0.3, 0.3]


def test_metadata_without_a_pose_leave_it_unknown_with_a_warning(tiny_data, tmp_path, capsys):
    write_images(tmp_path / "images", 3, crs="EPSG:32633")
    item = {"type": "Feature", "stac_version": "1.0.0", "properties": {"view:azimuth": 90}}
    for name, content in (("scene1.json", "{"), ("scene2.json", json.dumps(item))):
        (tmp_path / "images" / name).write_text(content)
    table = table_of(tiny_data, tmp_path, tmp_path / "images")
    assert table.angle_rad.isna().all() and table.scale_px_per_m.isna().all() and (table.gsd_m > 0).all()
    warn_of_unknown_poses(table[table.id == "scene0"])
    assert capsys.readouterr().err == ""
    warn_of_unknown_poses(table)
    (line,) = capsys.readouterr().err.splitlines()
    assert "the pose of 2 unlabelled images counts as unknown" in line and "scene1.json: not JSON" in line
    assert "--pose-from" not in line


@pytest.mark.parametrize("content", ["file,date\nscene0.tif,2020\n", ""])
def test_another_metadata_file_beside_images_is_ignored(tiny_data, tmp_path, content):
    write_images(tmp_path / "images" / "test", 2, crs="EPSG:32633")
    for path in sorted((tmp_path / "images" / "test").iterdir()):
        path.rename(path.with_name(f"{path.stem}_RGB.tif"))
    for folder in (tmp_path / "images", tmp_path / "images" / "test"):
        (folder / "metadata.csv").write_text(content)
    assert table_of(tiny_data, tmp_path, tmp_path / "images" / "test").gsd_m.tolist() == pytest.approx(
        [0.5] * 2, rel=2e-3
    )


def test_a_crop_is_shown_in_three_colours_and_its_pose_turns_with_it(tiny_data, tmp_path):
    write_images(tmp_path / "images", size=(32, 32))
    settings = ["train.unlabelled_gsd_m=0.4", "augment.crop_px=32", "augment.crop_jitter=1"]
    table = table_of(tiny_data, tmp_path, tmp_path / "images", *settings)
    table["angle_rad"], table["scale_px_per_m"] = 1.0, 0.7
    config = config_of(tiny_data, tmp_path, *settings)
    dataset = UnlabelledCrops(table, config.augment, 1.0, seed=3)
    whole = read_rgb(table.rgb[0]).transpose(2, 0, 1)
    elements = set()
    for draw in range(12):
        sample, again = dataset[draw], dataset[draw]
        assert all(torch.equal(sample[key], again[key]) for key in ("image", "plain", "recoloured"))
        (element,) = (e for e in D4_MATRICES if np.array_equal(apply_d4(whole, e), sample["plain"].numpy()))
        elements.add(element)
        pose = transform_pose(Pose(1.0, 0.7, 0.4), D4_MATRICES[element])
        assert [float(sample[key]) for key in vars(pose)] == pytest.approx(list(vars(pose).values()), rel=1e-5)
        assert not torch.equal(sample["image"], sample["plain"])
        assert not torch.equal(sample["image"], sample["recoloured"])
        assert sample["image"].dtype == torch.uint8 and sample["image"].shape == (3, 32, 32)
    assert len(elements) > 3


def test_each_rank_draws_its_own_crops_and_an_epoch_visits_all_images(tiny_data, tmp_path):
    config = config_of(tiny_data, tmp_path, f"train.unlabelled={tiny_data}")
    table = read_unlabelled(config)
    seen = {}
    for rank in range(2):
        loader = create_unlabelled_loader(table, config, steps=2, rank=rank, world_size=2)
        for epoch in (1, 2):
            loader.sampler.epoch = epoch
            seen[rank, epoch] = [tile for batch in loader for tile in batch["id"]]
    assert sorted(seen[0, 1] + seen[1, 1]) == sorted(table.id), "8 images, 2 ranks x 2 steps x 2 crops"
    assert seen[0, 1] != seen[0, 2] or seen[1, 1] != seen[1, 2]


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ({"count": 0}, r"images: holds no image \(\.j2k, .*\); give a folder of images"),
        ({"size": (20, 60), "crs": "EPSG:32633"}, r"scene0.tif: 20x60 is smaller than a crop of 32 px; lower augment"),
        ({"bands": 1}, r"scene0.tif: 1 bands of uint8; convert it to 3 bands of uint8"),
        ({"bands": 4}, r"scene0.tif: 4 bands of uint8; convert it to 3 bands of uint8"),
        ({"dtype": np.uint16}, r"scene0.tif: 3 bands of uint16; convert it to 3 bands of uint8"),
        ({}, r"scene0.tif: .* so its metres per pixel are unknown; .*give train.unlabelled_gsd_m"),
    ],
    ids=["none", "small", "grey", "four", "deep", "no gsd"],
)
def test_images_that_cannot_be_used_are_one_line(tiny_data, tmp_path, images, told):
    write_images(tmp_path / "images", **images)
    with pytest.raises(UserError, match=told) as error:
        table_of(tiny_data, tmp_path, tmp_path / "images")
    assert "\n" not in str(error.value)


def test_other_mistakes_are_one_line(tiny_data, tmp_path):
    with pytest.raises(UserError, match=r"nothing: no such folder; give a folder of images, or a competition folder"):
        table_of(tiny_data, tmp_path, tmp_path / "nothing")
    with pytest.raises(UserError, match=r"moving average; set train.ema_decay"):
        table_of(tiny_data, tmp_path, tiny_data, "train.ema_decay=null")
    data = shutil.copytree(tiny_data, tmp_path / "other")
    metadata = data / "metadata.csv"
    rows = metadata.read_text().splitlines()
    metadata.write_text("\n".join([*rows[:-1], rows[-1].replace("0.35", "unknown")]) + "\n")
    with pytest.raises(UserError, match=r"OMA_bbbbbb_RGB.tif: its gsd in metadata.csv is nan: give metres per pixel"):
        table_of(tiny_data, tmp_path, data)
    metadata.write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(UserError, match=r"metadata.csv has no row of OMA_bbbbbb; add it, or remove the image"):
        table_of(tiny_data, tmp_path, data)
