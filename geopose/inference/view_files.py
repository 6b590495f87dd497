"""What a file beside an image says about the satellite that took it: a STAC item, or the metadata of Maxar (.IMD).

Both have the image's name: <stem>.json and <stem>.IMD. A file that cannot be used raises UserError with one line.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from rasterio.io import DatasetReader

from geopose.cli import UserError
from geopose.ranges import lies_in

REMEDY = "correct it, or give --pose-from network"
AZIMUTHS, OFF_VERTICAL, ELEVATIONS = "[-360, 360]", "[0, 90)", "(0, 90]"  # intervals of degrees
STAC_KEYS = {"view:azimuth": AZIMUTHS, "view:incidence_angle": OFF_VERTICAL, "view:off_nadir": OFF_VERTICAL}
IMD_KEYS = {"meanSatAz": AZIMUTHS, "meanSatEl": ELEVATIONS, "meanOffNadirViewAngle": OFF_VERTICAL}


@dataclass(frozen=True)
class SatelliteView:
    """Where a satellite is. One of incidence_deg and off_nadir_deg is known, the other may be None.

    azimuth_deg: its direction seen from the ground, clockwise from true north. incidence_deg: the angle at the ground
    between the vertical and the line of sight. off_nadir_deg: the angle at the satellite, which is smaller.
    """

    azimuth_deg: float
    incidence_deg: float | None
    off_nadir_deg: float | None


def read_stac_view(path: Path) -> SatelliteView | None:
    """The view of the STAC item beside an image. None without such an item, or if it has no view angles.

    It is the extension "view", https://github.com/stac-extensions/view. Its text can be read as if view:azimuth was
    measured at the point below the satellite. Catalogs of satellite images hold the azimuth of the satellite seen from
    the ground, so that is what it means here.
    """
    file = path.with_suffix(".json")
    if not file.is_file():
        return None
    try:
        item = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON ({error}); {REMEDY}") from None
    if not isinstance(item, dict) or item.get("type") != "Feature" or "stac_version" not in item:
        return None  # another file of this name
    properties = item.get("properties")
    found = {key: properties[key] for key in STAC_KEYS if key in properties} if isinstance(properties, dict) else {}
    if not found:
        return None
    check_angles(file, found, STAC_KEYS)
    return SatelliteView(*map(found.get, STAC_KEYS))


def read_imd_view(image: DatasetReader, path: Path) -> SatelliteView | None:
    """The view of Maxar's metadata beside an image, as GDAL reads them. None without such a file."""
    tags = {name.rpartition(".")[2]: value for name, value in image.tags(ns="IMD").items()}
    files = [file for suffix in (".IMD", ".imd") if (file := path.with_suffix(suffix)).is_file()]
    if not tags and not files:
        return None
    found = {key: _number(tags[key]) for key in IMD_KEYS if key in tags}
    check_angles(files[0] if files else path, found, IMD_KEYS)
    azimuth_deg, elevation_deg, off_nadir_deg = map(found.get, IMD_KEYS)
    return SatelliteView(azimuth_deg, None if elevation_deg is None else 90 - elevation_deg, off_nadir_deg)


def check_angles(file: Path, found: dict[str, object], keys: dict[str, str]) -> None:
    """Raise UserError for a value outside its interval, or when the pose does not follow from what was found.

    keys: the key of the azimuth, and those of two angles of which one is needed, each with its interval.
    """
    for key, value in found.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not lies_in(value, keys[key]):
            raise UserError(f"{file}: {key} is {value}; it must be a number of degrees in {keys[key]}; {REMEDY}")
    azimuth, one, other = keys
    if azimuth not in found or not {one, other} & set(found):
        raise UserError(f"{file}: a pose needs {azimuth}, and {one} or {other}; {REMEDY}")


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
