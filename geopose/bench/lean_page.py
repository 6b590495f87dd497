"""The page lean.md: how well the lean is removed, as lean.py measures it."""

from dataclasses import astuple
from pathlib import Path

from geopose.bench.lean import ROOF_M, SPECK_PX, TILES, measure_lean
from geopose.inference.fill import FILL_PX
from geopose.runs.folder import read_manifest
from geopose.synthetic.dataset import Options

PAGE = """\
# How well the lean is removed

Two ways to remove the lean, on {tiles} test tiles of {size} px of generator {generator} and seed {seed}. Both use the
true pose, and both are compared with the same ground rendered from straight above. Heights were predicted by the run
`{run}` of {date}.

- **Heights:** the renderer's, or those that the run predicts.
- **Way:** sorting moves each pixel by itself, the tallest last. Surface is the way of geopose. The first row is the
  render from above without what the image does not show: no mask and no roofs can be better.
- **Hidden:** ground that has no pixel, as a share of the image. Specks are the part of it in connected regions of fewer
  than {speck_px} pixels.
- **Recall and precision** of the hidden mask.
- **IoU of roofs:** of ground pixels above {roof_m:g} m, trees included.
- **Mean colour, filled:** mean absolute difference of each way's own hidden pixels from the render, in grey levels.
  First all have the mean colour of the visible ground, then `--fill` has painted them (up to {fill_px} px from visible
  ground).

| heights | way | hidden | specks | recall | precision | IoU of roofs | mean colour | filled |
|---|---|---|---|---|---|---|---|---|
{rows}

```
python -m geopose bench --lean {run} --out docs
```
"""
COLUMNS = ("{:.1%}", "{:.2%}", "{:.2f}", "{:.2f}", "{:.3f}", "{:.1f}", "{:.1f}")


def describe_lean(run: Path, options: Options = TILES) -> str:
    """Measure a run, and return the page. Raises UserError when the folder holds no finished run."""
    finished = read_manifest(run)["finished"]
    rows = []
    for name, figures in measure_lean(run, options).items():
        cells = [
            column.format(value).replace("%", " %") for column, value in zip(COLUMNS, astuple(figures), strict=True)
        ]
        rows.append(f"| {' | '.join((*name, *cells))} |")
    return PAGE.format(
        tiles=options.test,
        size=options.size,
        generator=options.generator,
        seed=options.seed,
        run=run,
        date=finished.partition(" ")[0],
        speck_px=SPECK_PX,
        roof_m=ROOF_M,
        fill_px=FILL_PX,
        rows="\n".join(rows),
    )
