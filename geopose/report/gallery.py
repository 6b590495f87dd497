"""Eight synthetic tiles in one picture, two of each city: what the generator draws."""

import tempfile
from pathlib import Path

from matplotlib import pyplot as plt

from geopose.io.rasters import read_rgb
from geopose.io.tables import read_test_table
from geopose.report.panel import save
from geopose.synthetic.dataset import Options, make_dataset

TILES = Options(train=4, test=8, size=400, seed=4)  # two test tiles of each city


def draw_cities(path: Path) -> None:
    """Render a small test half and write its tiles, each with its city and gsd. The two of a city share a column."""
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(Path(folder), TILES)
        tiles = read_test_table(folder).sort_values("id", ignore_index=True)
        figure, axes = plt.subplots(2, 4, figsize=(13.5, 7.1), layout="constrained")
        for ax, tile in zip(axes.T.flat, tiles.itertuples(), strict=True):
            ax.imshow(read_rgb(tile.rgb))
            ax.set_title(f"{tile.city}, {tile.gsd_m:.2f} m per pixel", fontsize=8.5)
    save(figure, axes.flat, path)
