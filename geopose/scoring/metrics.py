"""The challenge's score: R2 of heights and of vertical flow, over all pixels of a city, then the mean over cities.

height_sums reduces the heights of an image to seven sums. PoseScores combines them with scale and angle, adds them up
per city, and computes the scores. The result does not depend on batches or processes, because sums only add up.

A city's sums of squares are polynomials in the sums of its images, so no flow field is needed. Let p be the predicted
height of a pixel, t the true height, e = p - t, and A and B the predicted and true flow vectors per metre. Then the
flow error of the pixel is p A - t B = e A + t (A - B). For a good prediction all these terms are small, so float64
loses no accuracy to cancellation. The error of a perfect prediction is exactly 0.

If a predicted pixel is unknown, the official program skips it in the numerator, but its denominator keeps every pixel
of known truth. The honest score counts such pixels as height 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from geopose.geometry import angle_error_rad, flow_direction
from geopose.io.poses import VflowLabel

PIECE_PX = 2**16  # pixels per partial sum: their float64 values fit into a core's cache
DENOMINATOR_FLOOR = 1e-4  # the official program adds this to each total sum of squares

# Columns of PoseScores.sums. Each is a sum over the images of a city. t and e are defined in the module's docstring.
COLUMNS = (
    "images",
    "failed",  # images without a prediction, or with a scale or angle that is not finite: the city then scores 0
    "pixels",  # pixels of known truth
    "agl",  # sum of t
    "agl_squared",
    "agl_error",  # sum of e^2 over known pixels with a finite prediction
    "agl_bad",  # sum of t^2 over the other known pixels: the honest score adds it to the error
    "agl_cross",  # sum of e t over known pixels with a finite prediction
    "flow",  # sum of flow x and flow y
    "flow_squared",
    "flow_error",
    "flow_bad",
    "bad_pixels",
    "angle_error",  # radians
    "scale_error",  # px/m
)


@dataclass(frozen=True)
class HeightSums:
    """Sums over one image's heights, from which scale and angle give the score. t is true, e = predicted - t.

    pixels counts the pixels of known truth; t and tt are sums over them. ee, et and good_tt are sums over those of them
    that have a finite prediction. bad_pixels counts all predicted pixels that are NaN or infinite, also where the truth
    is unknown.
    """

    pixels: float
    t: float
    tt: float
    ee: float
    et: float
    good_tt: float
    bad_pixels: float


def height_sums(agl_m, true_agl_m) -> HeightSums:
    """Sums of one image. agl_m and true_agl_m [H,W] metres, NaN unknown: arrays, or tensors on any device.

    The sums are float64, computed on the tensors' device and transferred once. Raises ValueError when the shapes
    differ.
    """
    agl_m, true_agl_m = torch.as_tensor(agl_m), torch.as_tensor(true_agl_m)
    if agl_m.shape != true_agl_m.shape:
        raise ValueError(f"heights of shape {tuple(agl_m.shape)}, but truth of shape {tuple(true_agl_m.shape)}")
    pieces = zip(agl_m.flatten().split(PIECE_PX), true_agl_m.flatten().split(PIECE_PX), strict=True)
    return HeightSums(*torch.stack([_piece_sums(*piece) for piece in pieces]).sum(dim=0).tolist())


def _piece_sums(agl_m: torch.Tensor, true_agl_m: torch.Tensor) -> torch.Tensor:
    """The fields of HeightSums, float64 [7], for pixels [N]."""
    known, finite = ~torch.isnan(true_agl_m), torch.isfinite(agl_m)
    t = true_agl_m.where(known, 0.0).double()
    e = (agl_m.double() - t).where(known & finite, 0.0)
    good_t = t.where(finite, 0.0)
    counts = known.sum(), finite.numel() - finite.sum()
    sums = (counts[0], t.sum(), t.dot(t), e.dot(e), e.dot(t), good_t.dot(good_t), counts[1])
    return torch.stack([x.double() for x in sums])


class PoseScores:
    """The sums per city from which compute gives the scores.

    `sums` is float64 [cities, COLUMNS], with one row per entry of cities. Processes with the same cities add their
    sums: `scores.sums += other.sums`, or an all-reduce of `scores.sums`.
    """

    def __init__(self, cities: Sequence[str]):
        self.cities = tuple(cities)
        self.sums = torch.zeros(len(self.cities), len(COLUMNS), dtype=torch.float64)

    def update(self, city: str, agl_m, true_agl_m, pose: VflowLabel, true_pose: VflowLabel):
        """Add one image. agl_m, true_agl_m [H,W] metres, NaN unknown; the poses hold floats or tensors."""
        self.add(city, height_sums(agl_m, true_agl_m), pose, true_pose)

    def add(self, city: str, heights: HeightSums, pose: VflowLabel, true_pose: VflowLabel):
        """Add one image by its height sums. A scale or angle that is not finite makes the city's score 0."""
        scale, true_scale = float(pose.scale_px_per_m), float(true_pose.scale_px_per_m)
        angle, true_angle = float(pose.angle_rad), float(true_pose.angle_rad)
        true_flow_per_m = true_scale * flow_direction(true_angle)  # B of the module's docstring
        bad_tt = heights.tt - heights.good_tt
        row = {
            "images": 1.0,
            "pixels": heights.pixels,
            "agl": heights.t,
            "agl_squared": heights.tt,
            "agl_error": heights.ee,
            "agl_bad": bad_tt,
            "agl_cross": heights.et,
            "flow": heights.t * true_flow_per_m.sum(),
            "flow_squared": heights.tt * true_scale**2,
            "flow_bad": bad_tt * true_scale**2,
            "bad_pixels": heights.bad_pixels,
        }
        if math.isfinite(scale) and math.isfinite(angle):
            flow_per_m = scale * flow_direction(angle)  # A
            change = flow_per_m - true_flow_per_m
            row["flow_error"] = (
                heights.ee * flow_per_m @ flow_per_m
                + 2 * heights.et * flow_per_m @ change
                + heights.good_tt * change @ change
            )
            row["angle_error"] = angle_error_rad(angle, true_angle)
            row["scale_error"] = abs(scale - true_scale)
        else:
            row["failed"] = 1.0
        self._add_row(city, row)

    def add_missing(self, city: str) -> None:
        """Count an image without a prediction. It makes the city's score 0."""
        self._add_row(city, {"images": 1.0, "failed": 1.0})

    def compute(self) -> dict:
        """The scores so far.

        {"cities": {city: {"agl_r2", "vflow_r2", "r2", "honest_agl_r2", "honest_vflow_r2", "honest_r2", "agl_rmse_m"
        (honest), "agl_slope" (NaN where no true height is above 0), "angle_error_deg", "scale_error_px_per_m" (means
        over images, NaN when all failed), "bad_pixels", "images"}}, "final_r2", "honest_r2", "bad_pixels",
        "unscored_cities"}. The last is a list of the cities without any known pixel. The final scores are means over
        the other cities. Raises ValueError when there are none.
        """
        cities, unscored = {}, []
        for city, values in zip(self.cities, self.sums.tolist(), strict=True):
            row = dict(zip(COLUMNS, values, strict=True))
            if row["pixels"] or row["failed"]:
                cities[city] = _city_scores(row)
            else:
                unscored.append(city)
        if not cities:
            raise ValueError("no image with known truth was scored")
        return {
            "cities": cities,
            "final_r2": sum(scores["r2"] for scores in cities.values()) / len(cities),
            "honest_r2": sum(scores["honest_r2"] for scores in cities.values()) / len(cities),
            "bad_pixels": sum(scores["bad_pixels"] for scores in cities.values()),
            "unscored_cities": unscored,
        }

    def _add_row(self, city: str, row: dict[str, float]) -> None:
        self.sums[self.cities.index(city)] += torch.tensor([row.get(c, 0.0) for c in COLUMNS], dtype=torch.float64)


def mean_score(scores: dict, key: str) -> float:
    """Mean of one figure over the cities of PoseScores.compute's result. NaN does not count, unless all are NaN."""
    values = [city[key] for city in scores["cities"].values() if not math.isnan(city[key])]
    return sum(values) / len(values) if values else math.nan


def _city_scores(row: dict[str, float]) -> dict:
    agl_total = row["agl_squared"] - row["agl"] ** 2 / max(row["pixels"], 1)
    flow_total = row["flow_squared"] - row["flow"] ** 2 / max(2 * row["pixels"], 1)  # x and y have one common mean
    good_tt = row["agl_squared"] - row["agl_bad"]
    passed = row["images"] - row["failed"]

    def r2(error: float, total: float) -> float:
        return 0.0 if row["failed"] else 1.0 - error / (total + DENOMINATOR_FLOOR)

    agl_r2, vflow_r2 = r2(row["agl_error"], agl_total), r2(row["flow_error"], flow_total)
    honest_agl_r2 = r2(row["agl_error"] + row["agl_bad"], agl_total)
    honest_vflow_r2 = r2(row["flow_error"] + row["flow_bad"], flow_total)
    return {
        "agl_r2": agl_r2,
        "vflow_r2": vflow_r2,
        "r2": (agl_r2 + vflow_r2) / 2,
        "honest_agl_r2": honest_agl_r2,
        "honest_vflow_r2": honest_vflow_r2,
        "honest_r2": (honest_agl_r2 + honest_vflow_r2) / 2,
        "agl_rmse_m": math.sqrt((row["agl_error"] + row["agl_bad"]) / max(row["pixels"], 1)),
        # Slope of predicted against true heights, sum(p t) / sum(t t). Below 1, tall objects come out too low.
        "agl_slope": 1.0 + row["agl_cross"] / good_tt if good_tt else math.nan,
        "angle_error_deg": math.degrees(row["angle_error"] / passed) if passed else math.nan,
        "scale_error_px_per_m": row["scale_error"] / passed if passed else math.nan,
        "bad_pixels": int(row["bad_pixels"]),
        "images": int(row["images"]),
    }
