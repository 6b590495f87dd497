"""Scale and angle of a tile: the VFLOW files. Inside the code scale is px/m; the competition's files hold px/cm."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from geopose.cli import UserError
from geopose.io.names import vflow_name
from geopose.io.rasters import CM_PER_M, holds_centimetres, open_raster


@dataclass(frozen=True)
class VflowLabel:
    """Scale in px/m and angle in radians of a whole image, true or predicted. Labels have angles in [0, 2 pi)."""

    scale_px_per_m: float
    angle_rad: float


def read_vflow(path: str | os.PathLike, agl_path: str | os.PathLike) -> VflowLabel:
    """A tile's scale and angle. The dtype of its AGL file decides whether scale is px/cm or px/m."""
    with open_raster(agl_path) as raster:
        return read_pose(path, holds_centimetres(raster, str(agl_path)))


def read_pose(path: str | os.PathLike, centimetres: bool) -> VflowLabel:
    """Scale and angle of a file whose unit is known: px/cm (centimetres=True) or px/m."""
    try:
        text = Path(path).read_text()
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path} missing or no file; every tile needs its {vflow_name('<id>')}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not text; write it again as {{'scale': px/cm, 'angle': rad}}") from None
    return parse_vflow(text, str(path), centimetres)


def parse_vflow(
    text: str | bytes, where: str, centimetres: bool = True, finite: bool = True, own_units: bool = True
) -> VflowLabel:
    """Scale and angle from JSON text. where names the file in errors.

    If centimetres is true, "scale" is px/cm, otherwise px/m. A file with "scale_px_per_m" and "angle_rad" names its own
    units; the predict command writes such files for images outside a competition folder. own_units=False does not look
    at these two keys, as the challenge's program does not. finite=False accepts NaN and infinity.
    """
    try:
        values = json.loads(text, parse_int=float)  # an integer of 400 digits is not a valid float
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}); write it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: not a JSON object; it must hold scale and angle")
    numbers = {}
    keys = ("scale", "angle")
    if own_units and "scale_px_per_m" in values:
        keys, centimetres = ("scale_px_per_m", "angle_rad"), False
    for key in keys:
        value = values.get(key)
        if not isinstance(value, float) or (finite and not math.isfinite(value)):
            raise UserError(f"{where}: {key} is {value if key in values else 'missing'}; it must be a finite number")
        numbers[key] = float(value)
    scale, angle_rad = (numbers[key] for key in keys)
    return VflowLabel(scale * (CM_PER_M if centimetres else 1.0), angle_rad)


def encode_vflow(scale_px_per_m: float, angle_rad: float) -> bytes:
    """Scale and angle as the competition's JSON, in px/cm and radians."""
    return json.dumps({"scale": float(scale_px_per_m) / CM_PER_M, "angle": float(angle_rad)}).encode()
