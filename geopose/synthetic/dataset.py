"""Synthetic competition folders: their places, the views of each place, and the files.

`make_dataset` plans all places, makes each in a worker process, and then writes the tables. `make_place` builds one
scene and renders its views. Places whose files all exist are skipped, so a run resumes after an interruption.

All random numbers come from the seed through SeedSequences with half, city, place and view as keys. So the content of a
file depends neither on the number of workers nor on the files made before it.
"""

import json
import os
import string
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from geopose import geometry
from geopose.cli import UserError, list_some, progress
from geopose.data.processes import in_processes
from geopose.geometry import Pose
from geopose.io.files import remove_unfinished, write_bytes
from geopose.io.names import ARGUMENTS_FILE, agl_name, rgb_name, vflow_name
from geopose.io.poses import encode_vflow
from geopose.io.rasters import encode_agl, encode_rgb
from geopose.io.tables import write_csv
from geopose.synthetic.appearance import Season
from geopose.synthetic.cities import CITIES, City, deal, district_weights
from geopose.synthetic.ground import Scene, build_scene
from geopose.synthetic.labels import WATER_SHARE, add_faults, clean_label
from geopose.synthetic.layout import plan_place
from geopose.synthetic.light import Light
from geopose.synthetic.render import render
from geopose.synthetic.sensor import expose, random_sensor
from geopose.synthetic.view import View

SCENE_GSD_M = 0.18  # fine enough for four samples in a pixel of 0.31 m
MARGIN_M = 42.0  # ground around the views, so that roofs and shadows from outside reach into them
VIEWS_PER_PLACE = {"train": 3, "test": 1}  # 1: with few test tiles, the score must not depend on very few places
SHIFT = 0.06  # views are shifted from the place's middle by up to this share of their size
CHANGE = 0.02  # share of the objects in training places that are in the image only or in the lidar data only
OFF_NADIR_DEG = (4.0, 36.0)
USUAL_OFF_NADIR_DEG = (20.0, 7.0)  # mean and standard deviation of real acquisitions
USUAL_SHARE = 0.6  # of views with a usual off-nadir angle; the others have any
RESAMPLED_SHARE = 0.2  # of views whose gsd says nothing about the angle, because a product was resampled
GSD_M = (0.31, 0.59)
# gsd at nadir of the satellite that photographs each city: 0.46 m for WorldView-2, 0.309 m for WorldView-3. Which
# satellite belongs to which city is our assumption. For off-nadir angles up to 36 degrees, the two satellites cover the
# real data's range of 0.31 to 0.59 m, and scale is nearly a function of gsd and city, as in the real data.
NADIR_GSD_M = {"ARG": 0.309, "ATL": 0.46, "JAX": 0.309, "OMA": 0.309}
# The distance to the ground grows as 1 / cos of the angle, and pixels are longer along the line of sight by the same
# factor again, so the side of a square of their area grows by its 1.5th power. With this and 0.309 m, the gsd of 346
# WorldView-3 images of Omaha is met within 0.7 percent.
GSD_POWER = 1.5
GSD_SPREAD = 0.005  # standard deviation of log(gsd), from altitude and resampling
GENERATOR = 12  # increased whenever the same arguments give different files than before


@dataclass(frozen=True)
class Options:
    """The arguments that determine the content of a folder.

    downtown_share: share of the places that are downtown, where towers stand; None: each city has its own.
    """

    train: int = 600
    test: int = 40
    size: int = 512
    seed: int = 42
    rgb_format: str = "tif"
    downtown_share: float | None = None
    generator: int = GENERATOR


@dataclass(frozen=True)
class Place:
    """One place and the ids of its tiles. key seeds all random choices of the place."""

    name: str
    city: str
    district: str
    half: str
    key: tuple[int, ...]
    tile_ids: tuple[str, ...]


@dataclass(frozen=True)
class ViewPlan:
    """Geometry of one tile: its pose, and the shift of its middle from the middle of the place in metres."""

    pose: Pose
    shift_x_m: float
    shift_y_m: float


def make_dataset(root: Path, options: Options, workers: int | None = None) -> int:
    """Write the folder and skip the places whose files all exist. Returns the number of tiles made by this run.

    workers: number of processes, by default one per CPU core. Raises UserError for a folder that is not writable.
    """
    remove_unfinished(root)
    places = plan_places(options)
    waiting = [place for place in places if not _is_written(root, place, options)]
    try:
        write_bytes(root / ARGUMENTS_FILE, (json.dumps(asdict(options), indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"{root}: cannot write to this folder ({error.strerror}); give another --out") from None
    jobs = [(root, place, options) for place in waiting]
    results = in_processes(make_place, jobs, workers or os.cpu_count() or 1)
    with progress(results, "synthetic places", len(waiting), "place") as bar:
        made = sum(bar)
    _write_all_tables(root, places, options)
    return made


def is_finished(root: Path, options: Options) -> bool:
    """Whether root holds exactly this dataset, complete. Raises UserError if it holds a different dataset."""
    arguments = root / ARGUMENTS_FILE
    if not arguments.exists():
        taken = sorted(path.name for path in root.glob("[!.]*"))
        if taken:
            raise UserError(f"{root} contains {list_some(taken)} of another dataset; give another --out")
        return False
    try:
        found = json.loads(arguments.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"{arguments}: cannot be read ({error}); remove {root} or give another --out") from None
    wanted = asdict(options)
    if found != wanted:
        known = found if isinstance(found, dict) else {}
        differences = [
            f"{name} {known.get(name, '?')} instead of {value}"
            for name, value in wanted.items()
            if known.get(name, "?") != value
        ]
        raise UserError(
            f"{root} was made with other arguments ({', '.join(differences)}); remove the folder or give another --out"
        )
    return (root / "metadata.csv").exists()


def plan_places(options: Options) -> list[Place]:
    """All places with the ids of their tiles. Training and test half have no place in common."""
    places, used = [], set()
    for half_index, half in enumerate(("train", "test")):
        counts = tiles_per_city(options.train if half == "train" else options.test)
        for city_index, (city, count) in enumerate(counts.items()):
            rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(half_index, city_index)))
            ids = [_new_id(city, rng, used) for _ in range(count)]
            groups = np.array_split(np.array(ids, dtype=object), -(-count // VIEWS_PER_PLACE[half])) if count else []
            # Dealt instead of drawn at random, so that each half has its share of towers even in a small dataset.
            districts = deal(district_weights(CITIES[city], options.downtown_share), len(groups))
            for index, (district, group) in enumerate(zip(districts, groups, strict=True)):
                name = f"{city}_{half}_{index:04d}"
                places.append(Place(name, city, district, half, (half_index, city_index, index), tuple(group)))
    return places


def tiles_per_city(count: int) -> dict[str, int]:
    """Number of tiles of each city. All cities get equal shares, because the score is a mean over cities.

    With unequal shares, some cities would have too few tiles for a meaningful score.
    """
    return {name: len(part) for name, part in zip(CITIES, np.array_split(np.arange(count), len(CITIES)), strict=True)}


def _new_id(city: str, rng: np.random.Generator, used: set[str]) -> str:
    """A new tile id CITY_xxxxxx. It is unique even on file systems that ignore case."""
    while True:
        tile_id = f"{city}_{''.join(rng.choice(list(string.ascii_letters), 6))}"
        if tile_id.lower() not in used:
            used.add(tile_id.lower())
            return tile_id


def plan_views(place: Place, options: Options) -> list[ViewPlan]:
    """Views of a place's tiles. As in reality, gsd grows with the off-nadir angle, from its value at nadir."""
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(*place.key, 0)))
    views = []
    for _ in place.tile_ids:
        off_nadir_deg = rng.uniform(*OFF_NADIR_DEG)
        if rng.random() < USUAL_SHARE:
            off_nadir_deg = np.clip(rng.normal(*USUAL_OFF_NADIR_DEG), *OFF_NADIR_DEG)
        off_nadir_rad = np.radians(off_nadir_deg)
        tangent = geometry.scale_for_off_nadir(off_nadir_rad, 1.0)
        gsd_m = gsd_off_nadir(NADIR_GSD_M[place.city], tangent) * np.exp(GSD_SPREAD * rng.standard_normal())
        if rng.random() < RESAMPLED_SHARE:
            gsd_m = rng.uniform(*GSD_M)
        # Rounded, so that processors that differ in the last digit render the same image.
        gsd_m = round(float(np.clip(gsd_m, *GSD_M)), 9)
        pose = Pose(
            angle_rad=round(float(rng.uniform(0.0, geometry.TWO_PI)), 9),
            scale_px_per_m=round(float(geometry.scale_for_off_nadir(off_nadir_rad, gsd_m)), 9),
            gsd_m=gsd_m,
        )
        shift_x_m, shift_y_m = rng.uniform(-SHIFT, SHIFT, 2) * options.size * gsd_m
        views.append(ViewPlan(pose, float(shift_x_m), float(shift_y_m)))
    return views


def gsd_off_nadir(nadir_gsd_m: float, tangent: float) -> float:
    """gsd in metres of an image whose line of sight meets the ground at an angle with this tangent from vertical."""
    return nadir_gsd_m * (1.0 + tangent**2) ** (GSD_POWER / 2.0)


def make_place(root: Path, place: Place, options: Options) -> int:
    """Build the scene of a place and write the files of all its tiles. Returns the number of tiles."""
    views = plan_views(place, options)
    scene, rng = build_place(place, options)
    water_returns = rng.random() > WATER_SHARE
    severity = rng.gamma(4.0, 0.25)
    for index, (tile_id, plan) in enumerate(zip(place.tile_ids, views, strict=True)):
        view_rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(*place.key, 2, index)))
        view = view_of(plan, scene, options.size)
        rgb, agl_m = photograph(scene, view, CITIES[place.city], view_rng)
        agl_m = clean_label(scene, agl_m, view, water_returns)
        if place.half == "train":
            agl_m = add_faults(agl_m, severity, view_rng)
        write_tile(root, place.half, tile_id, rgb, agl_m, plan.pose, options.rgb_format)
    return len(views)


def build_place(place: Place, options: Options) -> tuple[Scene, np.random.Generator]:
    """The scene of a place, large enough for all its views, and the generator of its further random choices."""
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(*place.key, 1)))
    views = plan_views(place, options)
    reach_m = max(options.size * v.pose.gsd_m / 2 + max(abs(v.shift_x_m), abs(v.shift_y_m)) for v in views) + MARGIN_M
    size_cells = int(np.ceil(2 * reach_m / SCENE_GSD_M))
    change = CHANGE if place.half == "train" else 0.0
    return build_scene(plan_place(CITIES[place.city], place.district, size_cells, SCENE_GSD_M, change, rng)), rng


def view_of(plan: ViewPlan, scene: Scene, size_px: int) -> View:
    """The planned view of a scene, with the pixels of a tile."""
    middle = (len(scene.height_m) - 1) / 2
    shift_x, shift_y = plan.shift_x_m / SCENE_GSD_M, plan.shift_y_m / SCENE_GSD_M
    return View(plan.pose, size_px, size_px, middle + shift_x, middle + shift_y)


def photograph(scene: Scene, view: View, city: City, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [H, W, 3] and heights float32 [H, W] (metres) of a view, in a light and by a sensor from rng.

    Generators of the same seed give all views of a scene the same light and sensor.
    """
    radiance, agl_m = render(scene, view, _light(city, rng), _season(city, rng))
    return expose(radiance, random_sensor(rng, view.pose.gsd_m), rng), agl_m


def _light(city: City, rng: np.random.Generator) -> Light:
    """Light of a late-morning overpass: the sun is in the south-east, for ARG often in the north-east."""
    zenith_rad = np.radians(rng.uniform(*city.sun_zenith_deg))
    south_east_rad = np.radians(rng.normal(25.0, 18.0))
    direction = geometry.flow_direction(south_east_rad)  # angle 0 points down the image, which is south
    if city.name == "ARG" and rng.random() < 0.6:  # southern hemisphere: the sun is in the north-east
        direction = geometry.flow_direction(np.pi - south_east_rad)
    tan_elevation = 1.0 / geometry.scale_for_off_nadir(zenith_rad, 1.0)
    sky, wall = rng.uniform(0.20, 0.36), np.exp(rng.uniform(np.log(0.2), np.log(0.6)))
    return Light((float(direction[0]), float(direction[1])), float(tan_elevation), float(sky), float(wall))


def _season(city: City, rng: np.random.Generator) -> Season:
    leaf, dryness, crowns = rng.uniform(*city.leaf), rng.uniform(*city.dryness), rng.uniform(0.9, 1.8)
    return Season(float(leaf), float(dryness), float(crowns))


def write_tile(root: Path, half: str, tile_id: str, rgb, agl_m, pose: Pose, rgb_format: str) -> None:
    """Write a tile's image, AGL and pose. The labels of the test half are written to truth/.

    rgb uint8 [H, W, 3]; agl_m float32 [H, W] metres, NaN unknown.
    """
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
    """Write all CSVs, metadata.csv last: if it exists, the folder is complete."""
    rows = []
    for place in places:
        for tile_id, plan in zip(place.tile_ids, plan_views(place, options), strict=True):
            rows.append((tile_id, place.city, round(plan.pose.gsd_m, 6), place.name, place.half))
    tiles = pd.DataFrame(rows, columns=["id", "city", "gsd", "place", "half"]).sort_values("id", ignore_index=True)
    write_csv(tiles[["id", "place"]], root / "places.csv")
    write_tables(root, tiles, options.rgb_format)


def write_tables(root: Path, tiles: pd.DataFrame, rgb_format: str) -> None:
    """Write the challenge's three CSVs, metadata.csv last. tiles has the columns id, city, gsd and half."""
    tiles = tiles.assign(rgb=[rgb_name(i, rgb_format) for i in tiles.id])
    tiles["agl"] = [agl_name(i) for i in tiles.id]
    tiles["json"] = [vflow_name(i) for i in tiles.id]
    write_csv(tiles.loc[tiles.half == "train", ["id", "agl", "json", "rgb"]], root / "geopose_train.csv")
    write_csv(tiles.loc[tiles.half == "test", ["id", "rgb"]], root / "geopose_test.csv")
    write_csv(tiles[["id", "city", "gsd"]], root / "metadata.csv")
