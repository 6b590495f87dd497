"""Damaged files: 2,000 of them, each either read as valid data or refused in one line."""

import resource

import numpy as np
import pytest

from geopose.cli import UserError
from geopose.io.poses import VflowLabel, encode_vflow, parse_vflow
from geopose.io.rasters import encode_agl, encode_rgb, read_agl, read_rgb
from geopose.io.tables import TABLE_COLUMNS, read_csv

CASES_PER_KIND = 400
TABLE = "id,city,gsd\nJAX_aaaaaa,JAX,0.35\nJAX_bbbbbb,JAX,0.36\nOMA_cccccc,OMA,0.41\n"


def sound_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (40, 52, 3), dtype=np.uint8)
    agl_m = rng.uniform(0, 60, (40, 52))
    agl_m[:3] = np.nan
    return {
        "a_RGB.j2k": encode_rgb(rgb, "j2k"),
        "a_RGB.tif": encode_rgb(rgb, "tif"),
        "a_AGL.tif": encode_agl(agl_m),
        "a_VFLOW.json": encode_vflow(1.3, 2.0),
        "metadata.csv": TABLE.encode(),
    }


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut off at random, or with a few bytes changed, often in the header; sometimes both."""
    kind = rng.integers(3)
    damaged = bytearray(content)
    if kind != 0:
        reach = len(damaged) if rng.random() < 0.5 else min(len(damaged), 200)
        for place in rng.integers(reach, size=rng.integers(1, 6)):
            damaged[place] = rng.integers(256)
    if kind != 1:
        damaged = damaged[: rng.integers(len(damaged))]
    return bytes(damaged)


def read(path) -> None:
    """Read as the package does and check that what comes is what callers rely on."""
    if path.suffix == ".csv":
        table = read_csv(path)
        assert len(table) and table.id.is_unique and set(TABLE_COLUMNS["metadata.csv"]) <= set(table.columns)
    elif path.suffix == ".json":
        label = parse_vflow(path.read_bytes(), str(path))
        assert isinstance(label, VflowLabel) and np.isfinite([label.scale_px_per_m, label.angle_rad]).all()
    elif "RGB" in path.name:
        rgb = read_rgb(path)
        assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3
    else:
        agl_m = read_agl(path)
        assert agl_m.dtype == np.float32 and agl_m.ndim == 2


@pytest.mark.parametrize("name", sound_files())
def test_a_damaged_file_is_read_or_refused_in_one_line(name, tmp_path):
    content, path = sound_files()[name], tmp_path / name
    path.write_bytes(content)
    read(path)
    rng = np.random.default_rng([7, len(content)])
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for _ in range(CASES_PER_KIND):
        path.write_bytes(damage(content, rng))
        try:
            read(path)
        except UserError as error:
            refused += 1
            assert name in str(error) and "\n" not in str(error).strip(), str(error)
    assert refused > CASES_PER_KIND / 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 800_000
