"""How good images without lean are: compared with the same synthetic places seen from straight above.

`python -m geopose bench --lean RUN` renders the places, predicts their heights with a run, and removes the lean in the
usual way (sorting) and in ours (surface), for true and for predicted heights, both by the true pose. lean_page.py
writes the figures as a page.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from geopose.bench.rectify import rectify_by_sorting
from geopose.cli import progress
from geopose.config import BlendConfig
from geopose.geometry import Pose, image_position
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.rectify import Rectified, fill_hidden, rectify
from geopose.synthetic.cities import CITIES
from geopose.synthetic.dataset import Options, Place, build_place, photograph, plan_places, plan_views, view_of
from geopose.synthetic.labels import clean_label

TILES = Options(train=4, test=20, size=512, seed=12)
SPECK_PX = 12  # a hidden region of fewer pixels is a speck
ROOF_M = 2.5  # buildings and trees are taller
SAME_M = 1.0  # a ground pixel's surface is visible if the image shows its height there, up to this difference
WAYS = {"sorting": rectify_by_sorting, "surface": rectify}


@dataclass(frozen=True)
class Figures:
    """hidden and specks: shares of the image. recall and precision: of the hidden mask. roof_iou: of all above ROOF_M.

    mean_colour and filled: mean differences of hidden pixels from the view straight down, in grey levels, when all have
    the mean colour of visible ground, and when they are filled.
    """

    hidden: float
    specks: float
    recall: float
    precision: float
    roof_iou: float
    mean_colour: float
    filled: float


@dataclass(frozen=True)
class SeenTwice:
    """A place seen obliquely (rgb uint8 [H,W,3], agl_m [H,W]) and straight down (down_rgb, down_m), on one ground grid.

    hidden [H,W]: the surface that one sees from above is not in the image, because something stands in front of it.
    inside [H,W]: the image reaches as far as the place where this surface would appear.
    """

    place: Place
    pose: Pose
    rgb: np.ndarray
    agl_m: np.ndarray
    down_rgb: np.ndarray
    down_m: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        x, y = self._appears_at()
        return (x >= 0) & (y >= 0) & (x <= self.agl_m.shape[1] - 1) & (y <= self.agl_m.shape[0] - 1)

    @property
    def hidden(self) -> np.ndarray:
        x, y = self._appears_at()
        difference_m = np.full(self.agl_m.shape, np.inf)
        for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
            row, column = _index(y + down, self.agl_m.shape[0]), _index(x + right, self.agl_m.shape[1])
            difference_m = np.minimum(difference_m, np.abs(self.agl_m[row, column] - self.down_m))
        return difference_m > SAME_M

    def _appears_at(self) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = np.indices(self.agl_m.shape)
        return image_position(columns, rows, self.down_m, self.pose)


def _index(positions: np.ndarray, length: int) -> np.ndarray:
    return np.clip(np.floor(positions), 0, length - 1).astype(int)


def see_twice(place: Place, options: Options) -> SeenTwice:
    """The first view of a place of a synthetic folder, and the same ground from straight above."""
    scene, _ = build_place(place, options)
    plan = plan_views(place, options)[0]
    view = view_of(plan, scene, options.size)
    down = replace(view, pose=replace(plan.pose, scale_px_per_m=0.0))
    seed = np.random.SeedSequence(options.seed, spawn_key=(*place.key, 2, 0))
    images = [photograph(scene, v, CITIES[place.city], np.random.default_rng(seed)) for v in (view, down)]
    (rgb, agl_m), (down_rgb, down_m) = (
        (image, clean_label(scene, heights_m, v, water_returns=True))
        for v, (image, heights_m) in zip((view, down), images, strict=True)
    )
    return SeenTwice(place, plan.pose, rgb, agl_m, down_rgb, down_m)


def places_of_test_half(options: Options) -> list[Place]:
    """The places of the test half of a synthetic folder."""
    return [place for place in plan_places(options) if place.half == "test"]


def measure_lean(run: Path, options: Options = TILES) -> dict[tuple[str, str], Figures]:
    """(heights, way) -> figures over the test half of options. The first row is what no way can exceed."""
    ensemble = load_run(run)
    sums: dict[tuple[str, str], np.ndarray] = {}
    for place in progress(places_of_test_half(options), "places", unit="place"):
        seen = see_twice(place, options)
        grounds = {("true", "the render from above"): perfect_ground(seen)}
        for kind, agl_m in (("true", seen.agl_m), ("predicted", predict_heights(ensemble, seen))):
            for way, remove in WAYS.items():
                grounds[kind, way] = remove(seen.rgb, agl_m, seen.pose.scale_px_per_m, seen.pose.angle_rad)
        for name, ground in grounds.items():
            sums[name] = sums.get(name, 0) + measure(ground, seen)
    return {name: summarise(total) for name, total in sums.items()}


def perfect_ground(seen: SeenTwice) -> Rectified:
    """The ground as the best removal of lean would show it: the render from above without what the image hides."""
    return Rectified(
        np.where(seen.hidden[..., None], 0, seen.down_rgb), np.where(seen.hidden, np.nan, seen.down_m), seen.hidden
    )


def load_run(run: Path) -> Ensemble:
    """A run that predicts one view on the CPU."""
    return Ensemble([run], BlendConfig(tta="none"), torch.device("cpu"), Calibration())


def predict_heights(ensemble: Ensemble, seen: SeenTwice) -> np.ndarray:
    """Heights float32 [H,W] in metres that a run predicts for the oblique view; those below 0 count as 0."""
    image = torch.from_numpy(seen.rgb.transpose(2, 0, 1).copy())[None]
    batch = {"image": image, "gsd_m": torch.tensor([seen.pose.gsd_m], dtype=torch.float32)}
    result = ensemble.predict(batch | {"city": [seen.place.city], "id": [seen.place.tile_ids[0]]})
    return np.maximum(result["agl_m"][0, 0].float().numpy(), 0)


def measure(ground: Rectified, seen: SeenTwice) -> np.ndarray:
    """Sums over one place, which summarise turns into shares. Beyond `inside`, only specks and pixels count."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(ground.hidden.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    hidden, true_hidden = ground.hidden & seen.inside, seen.hidden & seen.inside
    roof = (np.nan_to_num(ground.agl_m) > ROOF_M) & seen.inside
    true_roof = (seen.down_m > ROOF_M) & seen.inside
    open_ground = ~ground.hidden & (np.nan_to_num(ground.agl_m) < ROOF_M)
    mean_ground = ground.rgb[open_ground].mean(axis=0)
    painted = fill_hidden(ground).rgb[hidden]
    truth = seen.down_rgb[hidden].astype(np.float64)
    return np.array(
        [
            ground.hidden.size,
            ground.hidden.sum(),
            areas[areas < SPECK_PX].sum(),
            hidden.sum(),
            true_hidden.sum(),
            (hidden & true_hidden).sum(),
            (roof & true_roof).sum(),
            (roof | true_roof).sum(),
            np.abs(mean_ground - truth).sum() / 3,
            np.abs(painted - truth).sum() / 3,
        ]
    )


def summarise(total: np.ndarray) -> Figures:
    """The figures of the sums that measure returns."""
    pixels, hidden, specks, inside, true, both, roof_and, roof_or, mean_colour, painted = total.tolist()
    return Figures(
        hidden / pixels,
        specks / pixels,
        both / true,
        both / inside,
        roof_and / roof_or,
        mean_colour / inside,
        painted / inside,
    )
