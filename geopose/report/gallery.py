"""Six synthetic tiles in one picture: what the generator draws."""

import tempfile
from pathlib import Path

from matplotlib import pyplot as plt

from geopose.io.rasters import read_rgb
from geopose.io.tables import read_test_table
from geopose.report.panel import save
from geopose.synthetic.dataset import Options, make_dataset

TILES = Options(train=4, test=8, size=400, seed=4)


def draw_cities(path: Path) -> None:
    """Render a small test half and write six of its tiles, each with its city and gsd."""
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(Path(folder), TILES)
        tiles = read_test_table(folder).sort_values("id", ignore_index=True)
        figure, axes = plt.subplots(2, 3, figsize=(13.5, 9.3), layout="constrained")
        for ax, tile in zip(axes.flat, tiles.itertuples(), strict=False):
            ax.imshow(read_rgb(tile.rgb))
            ax.set_title(f"{tile.city}, {tile.gsd_m:.2f} m per pixel", fontsize=8.5)
    save(figure, axes.flat, path)
