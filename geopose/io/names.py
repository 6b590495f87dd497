"""File names of a tile, and the tile and city that a name belongs to."""

from pathlib import Path

ARGUMENTS_FILE = "synthetic.json"  # in a rendered folder: the arguments that determine its files


def rgb_name(tile_id: str, suffix: str = "j2k") -> str:
    """File name of a tile's image."""
    return f"{tile_id}_RGB.{suffix}"


def agl_name(tile_id: str) -> str:
    """File name of a tile's heights."""
    return f"{tile_id}_AGL.tif"


def vflow_name(tile_id: str) -> str:
    """File name of a tile's scale and angle."""
    return f"{tile_id}_VFLOW.json"


def rectified_names(stem: str) -> tuple[str, str, str]:
    """File names of an image without lean, of its heights, and of its mask of hidden ground."""
    return f"{stem}_RECT.tif", f"{stem}_RECT_AGL.tif", f"{stem}_RECT_HIDDEN.tif"


def label_of(file_name: str) -> tuple[str, str] | None:
    """(tile id, "agl" or "vflow") of a label's file name; None for any other name."""
    for kind, suffix in (("agl", agl_name("")), ("vflow", vflow_name(""))):
        if file_name.endswith(suffix) and len(file_name) > len(suffix):
            return file_name.removesuffix(suffix), kind
    return None


def tile_id_of(rgb_file: str | Path) -> str:
    """Tile id of an image's file name: JAX_xxxxxx of train/JAX_xxxxxx_RGB.j2k."""
    return Path(rgb_file).stem.removesuffix("_RGB")


def city_of(tile_id: str) -> str:
    """City of a tile id: ARG of ARG_xxxxxx."""
    return tile_id.split("_")[0]
