"""Height calibration: per-city factors for predicted heights and scales, fitted on out-of-fold predictions.

Predicted heights tend to be too low, in some cities more than in others. The least-squares factor of a city's heights
is a = sum(p t) / sum(p p), for predicted heights p and true heights t. The factor b of its flow magnitudes has the same
form. Calibrated heights need a scale multiplied by b / a. Both factors follow from sums per tile that the score needs
too, so no pixel is read twice. A factor is kept only if it helps on folds that it was not fitted on.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from geopose.cli import UserError


@dataclass(frozen=True)
class Factors:
    """Factors that the predicted heights and scales of a city are multiplied by."""

    agl: float = 1.0
    scale: float = 1.0


@dataclass(frozen=True)
class Calibration:
    """Factors by city. Predictions of any other city are not changed."""

    cities: dict[str, Factors] = field(default_factory=dict)

    def factors(self, city: str) -> Factors:
        """Factors of a city."""
        return self.cities.get(city, Factors())


def fit_calibration(tiles: pd.DataFrame) -> tuple[Calibration, pd.DataFrame]:
    """Fit the factors of each city, and keep those that help.

    tiles: one row per out-of-fold tile with city, fold, and float64 sums over its known pixels: pp, pt, tt of heights
    (predicted p, true t), and flow_pp, flow_pt, flow_tt of flow vectors. Each fold is calibrated with factors fitted on
    the city's other folds. A factor is kept if this makes the squared error, summed over folds, smaller.

    Returns the calibration and a table with one row per city: city, agl_factor, agl_error_change (relative change of
    the squared error on folds the factor was not fitted on), agl_kept, and the same three columns for flow.
    """
    rows, cities = [], {}
    for city, group in tiles.groupby("city"):
        agl, flow = (fit_factor(group, prefix) for prefix in ("", "flow_"))
        kept_agl, kept_flow = (f["factor"] if f["after"] < f["before"] else 1.0 for f in (agl, flow))
        if (kept_agl, kept_flow) != (1.0, 1.0):
            cities[city] = Factors(agl=kept_agl, scale=kept_flow / kept_agl)
        rows.append(
            {
                "city": city,
                "agl_factor": agl["factor"],
                "agl_error_change": agl["after"] / agl["before"] - 1,
                "agl_kept": kept_agl != 1.0,
                "flow_factor": flow["factor"],
                "flow_error_change": flow["after"] / flow["before"] - 1,
                "flow_kept": kept_flow != 1.0,
            }
        )
    return Calibration(cities), pd.DataFrame(rows)


def fit_factor(tiles: pd.DataFrame, prefix: str) -> dict[str, float]:
    """Least-squares factor of one city's predictions, and their squared error before and after.

    The error after calibration is the sum over folds, each with the factor of the other folds.
    """
    sums = tiles.groupby("fold")[[f"{prefix}pp", f"{prefix}pt", f"{prefix}tt"]].sum()
    sums.columns = ["pp", "pt", "tt"]
    total = sums.sum()
    before = total.tt - 2 * total.pt + total.pp
    after = 0.0
    for fold, own in sums.iterrows():
        others = sums.drop(fold).sum()
        factor = others.pt / others.pp if others.pp > 0 else 1.0
        after += own.tt - 2 * factor * own.pt + factor**2 * own.pp
    return {"factor": total.pt / total.pp if total.pp > 0 else 1.0, "before": before, "after": after}


def encode_calibration(calibration: Calibration) -> bytes:
    """A calibration as JSON, for read_calibration."""
    cities = {city: {"agl": f.agl, "scale": f.scale} for city, f in calibration.cities.items()}
    return (json.dumps(cities, indent=2) + "\n").encode()


def read_calibration(path: str | Path | None) -> Calibration:
    """Read a file that `python -m geopose oof` wrote. Without a path, the calibration changes nothing."""
    if path is None:
        return Calibration()
    try:
        values = json.loads(Path(path).read_text())
        return Calibration({city: Factors(float(f["agl"]), float(f["scale"])) for city, f in values.items()})
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path} missing or no file; 'make oof' writes calibration.json") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not a calibration ({error}); write it again with 'make oof'") from None
