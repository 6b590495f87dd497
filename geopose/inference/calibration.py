"""Height calibration per city: factors fitted on out-of-fold predictions, kept only where they help unseen folds.

Heights tend to be predicted low, by more in some cities than in others. The least-squares factor of a city's heights
is a = sum(p t) / sum(p p), the factor of its flow magnitudes b likewise; the scale that goes with calibrated heights
is multiplied by b / a. Both follow from the sums that the score keeps per tile, so nothing is read twice.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from geopose.cli import UserError


@dataclass(frozen=True)
class Factors:
    """What heights and scale of a city's predictions are multiplied by."""

    agl: float = 1.0
    scale: float = 1.0


@dataclass(frozen=True)
class Calibration:
    """Factors by city; a city not in it stays as predicted."""

    cities: dict[str, Factors] = field(default_factory=dict)

    def factors(self, city: str) -> Factors:
        return self.cities.get(city, Factors())


def fit_calibration(tiles: pd.DataFrame) -> tuple[Calibration, pd.DataFrame]:
    """Factors of the cities where they help, and the report that says why.

    tiles: one row per out-of-fold tile with city, fold, and float64 sums over known pixels: pp, pt, tt of heights
    (predicted p, true t), and flow_pp, flow_pt, flow_tt of flow vectors. Each fold is calibrated by factors fitted on
    the city's other folds; a factor is kept when the squared error so obtained, summed over folds, is smaller than
    without it. Returns the calibration and a table: city, agl_factor, mag_factor, mean squared errors before and after
    (after: as measured on folds the factors had not seen), and kept.
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
    """Least-squares factor of one city's predictions, and their squared error before and after on unseen folds."""
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
    """The JSON that read_calibration reads."""
    cities = {city: {"agl": f.agl, "scale": f.scale} for city, f in calibration.cities.items()}
    return (json.dumps(cities, indent=2) + "\n").encode()


def read_calibration(path: str | Path | None) -> Calibration:
    """Factors from a file of `python -m geopose oof`; without a path, none."""
    if path is None:
        return Calibration()
    try:
        values = json.loads(Path(path).read_text())
        return Calibration({city: Factors(float(f["agl"]), float(f["scale"])) for city, f in values.items()})
    except FileNotFoundError:
        raise UserError(f"{path} missing; 'make oof' writes it") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: no calibration ({error}); write it again with 'make oof'") from None
