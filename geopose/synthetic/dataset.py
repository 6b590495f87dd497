"""Synthetic competition folders: which places and views, and the writing of their files.

All randomness flows from the seed through SeedSequences keyed by half, city, place and view, so a file's content
depends neither on the number of workers nor on what was made before it.
"""

import json
import os
import string
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from geopose import geometry
from geopose.cli import UserError, progress
from geopose.data.processes import in_processes
from geopose.geometry import Pose
from geopose.io.files import remove_unfinished, write_bytes
from geopose.io.names import agl_name, rgb_name, vflow_name
from geopose.io.poses import encode_vflow
from geopose.io.rasters import encode_agl, encode_rgb
from geopose.io.tables import write_csv
from geopose.synthetic.appearance import Season
from geopose.synthetic.cities import CITIES, City, deal
from geopose.synthetic.ground import build_scene
from geopose.synthetic.labels import WATER_SHARE, add_faults, clean_label
from geopose.synthetic.layout import plan_place
from geopose.synthetic.render import Light, View, render
from geopose.synthetic.sensor import expose, random_sensor

SCENE_GSD_M = 0.36
MARGIN_M = 42.0  # ground drawn beyond the views, so that roofs and shadows from outside reach in
VIEWS_PER_PLACE = {"train": 3, "test": 1}  # a score of few tiles hangs on single places, so each test tile has its own
SHIFT = 0.06  # views of a place are shifted by up to this share of their size
CHANGE = 0.02  # share of objects in training places that only image or only lidar saw
OFF_NADIR_DEG = (4.0, 36.0)
GSD_M = (0.31, 0.59)
# Ground sampling straight down of each city's satellite: WorldView-2 takes 0.46 m, WorldView-3 0.31 m. Which city has
# which is our assumption: off-nadir to 36 degrees the two span the real data's 0.31 to 0.59 m, and scale is nearly a
# function of gsd and city there.
NADIR_GSD_M = {"ARG": 0.31, "ATL": 0.46, "JAX": 0.31, "OMA": 0.31}
GSD_SPREAD = 0.01  # of its logarithm, from altitude and resampling; assumed
ARGUMENTS_FILE = "synthetic.json"
GENERATOR = 6  # raised when the same arguments would give other files


@dataclass(frozen=True)
class Options:
    """The arguments that decide the content of a folder."""

    train: int = 600
    test: int = 40
    size: int = 512
    seed: int = 42
    rgb_format: str = "tif"
    generator: int = GENERATOR


@dataclass(frozen=True)
class Place:
    """One place and its tiles' ids; key seeds all that is random about it."""

    name: str
    city: str
    district: str
    half: str
    key: tuple[int, ...]
    tile_ids: tuple[str, ...]


@dataclass(frozen=True)
class ViewPlan:
    """One tile's geometry: pose and its shift from the place's middle in metres."""

    pose: Pose
    shift_x_m: float
    shift_y_m: float


def make_dataset(root: Path, options: Options, workers: int | None = None) -> int:
    """Write the folder, going on where an earlier run stopped. Returns the number of tiles made by this run."""
    remove_unfinished(root)
    places = plan_places(options)
    waiting = [place for place in places if not _is_written(root, place, options)]
    try:
        write_bytes(root / ARGUMENTS_FILE, (json.dumps(asdict(options), indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"{root}: cannot write there ({error.strerror}); give another --out") from None
    jobs = [(root, place, options) for place in waiting]
    results = in_processes(make_place, jobs, workers or os.cpu_count() or 1)
    with progress(results, "synthetic places", len(waiting), "place") as bar:
        made = sum(bar)
    _write_all_tables(root, places, options)
    return made


def is_finished(root: Path, options: Options) -> bool:
    """Whether root holds this very dataset, complete. Raises UserError when it holds anything else."""
    arguments = root / ARGUMENTS_FILE
    if not arguments.exists():
        taken = [name for name in ("metadata.csv", "geopose_train.csv", "train", "test") if (root / name).exists()]
        if taken:
            raise UserError(f"{root}: holds {', '.join(taken)} of another dataset; give another --out")
        return False
    try:
        found = json.loads(arguments.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"{arguments}: not readable ({error}); remove {root} or give another --out") from None
    wanted = asdict(options)
    if found != wanted:
        names = [name for name in wanted if not isinstance(found, dict) or found.get(name) != wanted[name]]
        differences = ", ".join(f"{name} {found.get(name) if isinstance(found, dict) else '?'}" for name in names)
        raise UserError(f"{root}: made with other arguments ({differences}); remove it or give another --out")
    return (root / "metadata.csv").exists()


def plan_places(options: Options) -> list[Place]:
    """All places of both halves, no place in both, with their tiles' ids."""
    places, used = [], set()
    for half_index, half in enumerate(("train", "test")):
        counts = tiles_per_city(options.train if half == "train" else options.test)
        for city_index, (city, count) in enumerate(counts.items()):
            rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(half_index, city_index)))
            ids = [_new_id(city, rng, used) for _ in range(count)]
            groups = np.array_split(np.array(ids, dtype=object), -(-count // VIEWS_PER_PLACE[half])) if count else []
            # Dealt rather than drawn, so that both halves of even a small set hold their share of towers.
            districts = deal(CITIES[city].districts, len(groups))
            for index, (district, group) in enumerate(zip(districts, groups, strict=True)):
                name = f"{city}_{half}_{index:04d}"
                places.append(Place(name, city, district, half, (half_index, city_index, index), tuple(group)))
    return places


def tiles_per_city(count: int) -> dict[str, int]:
    """Tiles of each city: equal shares, since the score is a mean over cities and a few tiles tell nothing of one."""
    return {name: len(part) for name, part in zip(CITIES, np.array_split(np.arange(count), len(CITIES)), strict=True)}


def _new_id(city: str, rng: np.random.Generator, used: set[str]) -> str:
    """A tile id CITY_xxxxxx nobody has yet, also when case is ignored, as some file systems do."""
    while True:
        tile_id = f"{city}_{''.join(rng.choice(list(string.ascii_letters), 6))}"
        if tile_id.lower() not in used:
            used.add(tile_id.lower())
            return tile_id


def plan_views(place: Place, options: Options) -> list[ViewPlan]:
    """Poses of a place's tiles; gsd grows with the off-nadir angle from the city's satellite's own, as in reality."""
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(*place.key, 0)))
    views = []
    for _ in place.tile_ids:
        off_nadir_rad = np.radians(rng.uniform(*OFF_NADIR_DEG))
        tangent = geometry.scale_for_off_nadir(off_nadir_rad, 1.0)
        gsd_m = NADIR_GSD_M[place.city] * (1.0 + tangent**2) ** 0.6 * np.exp(GSD_SPREAD * rng.standard_normal())
        gsd_m = float(np.clip(gsd_m, *GSD_M))
        pose = Pose(
            angle_rad=float(rng.uniform(0.0, geometry.TWO_PI)),
            scale_px_per_m=float(geometry.scale_for_off_nadir(off_nadir_rad, gsd_m)),
            gsd_m=gsd_m,
        )
        shift_x_m, shift_y_m = rng.uniform(-SHIFT, SHIFT, 2) * options.size * gsd_m
        views.append(ViewPlan(pose, float(shift_x_m), float(shift_y_m)))
    return views


def make_place(root: Path, place: Place, options: Options) -> int:
    """Build a place and write the files of all its tiles. Returns the number of tiles."""
    city = CITIES[place.city]
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(*place.key, 1)))
    views = plan_views(place, options)
    reach_m = max(options.size * v.pose.gsd_m / 2 + max(abs(v.shift_x_m), abs(v.shift_y_m)) for v in views) + MARGIN_M
    size_cells = int(np.ceil(2 * reach_m / SCENE_GSD_M))
    in_test = place.half == "test"
    scene = build_scene(plan_place(city, place.district, size_cells, SCENE_GSD_M, 0.0 if in_test else CHANGE, rng))
    water_returns = rng.random() > WATER_SHARE
    severity = rng.gamma(4.0, 0.25)
    for index, (tile_id, plan) in enumerate(zip(place.tile_ids, views, strict=True)):
        view_rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(*place.key, 2, index)))
        middle = (size_cells - 1) / 2
        view = View(
            plan.pose,
            options.size,
            options.size,
            middle + plan.shift_x_m / SCENE_GSD_M,
            middle + plan.shift_y_m / SCENE_GSD_M,
        )
        radiance, agl_m = render(scene, view, _light(city, view_rng), _season(city, view_rng))
        rgb = expose(radiance, random_sensor(view_rng, plan.pose.gsd_m), view_rng)
        agl_m = clean_label(scene, agl_m, view, water_returns)
        if not in_test:
            agl_m = add_faults(agl_m, severity, view_rng)
        write_tile(root, place.half, tile_id, rgb, agl_m, plan.pose, options.rgb_format)
    return len(views)


def _light(city: City, rng: np.random.Generator) -> Light:
    """Sun of a late-morning overpass: towards the south-east in the image, higher in summer."""
    zenith_rad = np.radians(rng.uniform(*city.sun_zenith_deg))
    south_east_rad = np.radians(rng.normal(25.0, 18.0))
    direction = geometry.flow_direction(south_east_rad)  # angle 0 points down the image: south
    if city.name == "ARG" and rng.random() < 0.6:  # southern hemisphere: sun in the north-east
        direction = geometry.flow_direction(np.pi - south_east_rad)
    tan_elevation = 1.0 / geometry.scale_for_off_nadir(zenith_rad, 1.0)
    sky, wall = rng.uniform(0.20, 0.36), np.exp(rng.uniform(np.log(0.2), np.log(0.6)))
    return Light((float(direction[0]), float(direction[1])), float(tan_elevation), float(sky), float(wall))


def _season(city: City, rng: np.random.Generator) -> Season:
    return Season(float(rng.uniform(*city.leaf)), float(rng.uniform(*city.dryness)))


def write_tile(root: Path, half: str, tile_id: str, rgb, agl_m, pose: Pose, rgb_format: str) -> None:
    """A tile's image, heights and pose; the labels of the test half go into truth/."""
    labels = root / ("truth" if half == "test" else "train")
    write_bytes(labels / agl_name(tile_id), encode_agl(agl_m))
    write_bytes(labels / vflow_name(tile_id), encode_vflow(pose.scale_px_per_m, pose.angle_rad))
    write_bytes(root / half / rgb_name(tile_id, rgb_format), encode_rgb(rgb, rgb_format))


def _is_written(root: Path, place: Place, options: Options) -> bool:
    labels = root / ("truth" if place.half == "test" else "train")
    return all(
        (labels / agl_name(i)).exists()
        and (labels / vflow_name(i)).exists()
        and (root / place.half / rgb_name(i, options.rgb_format)).exists()
        for i in place.tile_ids
    )


def _write_all_tables(root: Path, places: list[Place], options: Options) -> None:
    """The CSVs, metadata.csv last: its presence says the folder is finished."""
    rows = []
    for place in places:
        for tile_id, plan in zip(place.tile_ids, plan_views(place, options), strict=True):
            rows.append((tile_id, place.city, round(plan.pose.gsd_m, 6), place.name, place.half))
    tiles = pd.DataFrame(rows, columns=["id", "city", "gsd", "place", "half"]).sort_values("id", ignore_index=True)
    write_csv(tiles[["id", "place"]], root / "places.csv")
    write_tables(root, tiles, options.rgb_format)


def write_tables(root: Path, tiles: pd.DataFrame, rgb_format: str) -> None:
    """The challenge's three CSVs of tiles with id, city, gsd and half, metadata.csv last."""
    tiles = tiles.assign(rgb=[rgb_name(i, rgb_format) for i in tiles.id])
    tiles["agl"] = [agl_name(i) for i in tiles.id]
    tiles["json"] = [vflow_name(i) for i in tiles.id]
    write_csv(tiles.loc[tiles.half == "train", ["id", "agl", "json", "rgb"]], root / "geopose_train.csv")
    write_csv(tiles.loc[tiles.half == "test", ["id", "rgb"]], root / "geopose_test.csv")
    write_csv(tiles[["id", "city", "gsd"]], root / "metadata.csv")
