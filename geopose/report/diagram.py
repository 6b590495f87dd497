"""A diagram of the network. Channels and strides are read from a config's model, so the picture fits the code."""

from pathlib import Path

import torch
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

from geopose.config import ModelConfig
from geopose.models.model import PoseModel, create_model
from geopose.report.panel import save

INK = {"image": "#e9ecef", "encoder": "#d0ebff", "decoder": "#d3f9d8", "head": "#fff3bf", "result": "#ffe3e3"}


def draw_network(path: Path, cfg: ModelConfig) -> None:
    """Write the diagram of a U-Net config: encoder, decoder, shared upsampling, heads, and what they return."""
    with torch.device("meta"):
        model = create_model(cfg, load_weights=False)
    figure, ax = plt.subplots(figsize=(13.5, 5.2), layout="constrained")
    ax.set(xlim=(0, 100), ylim=(0, 40))
    ax.set_frame_on(False)
    box(ax, (1, 27), (9, 9), "image\n3 bands\nany size" + ("\neven tone" if cfg.even_tone else ""), "image")
    rows = list(zip(model.encoder.strides, model.encoder.channels, strict=True))
    widths = [*cfg.decoder_channels, None]
    for number, ((stride, channels), width) in enumerate(zip(rows, widths, strict=True)):
        y = 29.5 - 8.5 * number
        box(ax, (15, y), (15, 5.5), f"encoder, stride {stride}\n{channels} channels", "encoder")
        if number:
            arrow(ax, (22.5, y + 8.5), (22.5, y + 5.5))
        if width:
            box(ax, (35, y), (15, 5.5), f"decoder, stride {stride}\n{width} channels", "decoder")
            arrow(ax, (30, y + 2.75), (35, y + 2.75))
            arrow(ax, (42.5, y - 3), (42.5, y))
        else:
            arrow(ax, (30, y + 2.75), (42.5, y + 2.75), head=False)
            arrow(ax, (42.5, y + 2.75), (42.5, y + 5.5), head=False)
    arrow(ax, (10, 32.2), (15, 32.2))
    draw_heads(ax, model, lowest=29.5 - 8.5 * (len(rows) - 1))
    save(figure, (ax,), path)


def draw_heads(ax, model: PoseModel, lowest: float) -> None:
    """The right half of the diagram. lowest is the bottom of the encoder's coarsest map."""
    cfg = model.cfg
    shared = f"shared upsampling\nto stride {cfg.head_stride}\n{model.upsample.out_channels} channels"
    box(ax, (54, 28), (12, 8.5), shared, "decoder")
    arrow(ax, (50, 32.2), (54, 32.2))
    box(ax, (68, 32), (11, 5.5), "height head\n" + ("input also: gsd" if cfg.gsd_plane else ""), "head")
    box(ax, (68, 23.5), (11, 5.5), "magnitude head", "head")
    arrow(ax, (66, 34), (68, 34.7))
    arrow(ax, (66, 30.5), (68, 26.2))
    box(ax, (88, 32), (11, 5.5), "AGL h\nm per pixel", "result")
    box(ax, (88, 23.5), (11, 5.5), "magnitude m\npx per pixel", "result")
    if cfg.refiner_channels:
        box(ax, (81, 23.5), (5, 14), "refiner\nat\nstride 1", "head")
    for y in (34.7, 26.2):
        arrow(ax, (79, y), (81 if cfg.refiner_channels else 88, y))
        if cfg.refiner_channels:
            arrow(ax, (86, y), (88, y))
    box(ax, (88, 13.5), (11, 6), "scale s, px/m\nsum(m h) / sum(h h)", "result")
    arrow(ax, (93.5, 23.5), (93.5, 19.5))
    maps = f"means of the {cfg.direction_maps} coarsest maps" if cfg.direction_maps > 1 else "mean of the coarsest map"
    box(ax, (46, lowest), (20, 5.5), maps, "encoder")
    arrow(ax, (30, lowest + 1.5), (46, lowest + 1.5))
    box(ax, (68, lowest), (11, 5.5), "direction head", "head")
    arrow(ax, (66, lowest + 1.5), (68, lowest + 1.5))
    box(ax, (88, lowest), (11, 5.5), "direction d\nangle a, rad", "result")
    arrow(ax, (79, lowest + 2.75), (88, lowest + 2.75))
    if cfg.scale_head:
        by_gsd = cfg.scale_dropout == 1
        box(ax, (68, lowest + 9), (11, 5.5), f"scale head\ninput{'' if by_gsd else ' also'}: gsd", "head")
        if not by_gsd:
            arrow(ax, (66, lowest + 4.5), (68, lowest + 10))
        arrow(ax, (73.5, lowest + 14.5), (73.5, 23.5))
        ax.text(74.2, (lowest + 38) / 2, "times", fontsize=8.5, va="center")


def box(ax, corner: tuple[float, float], size: tuple[float, float], text: str, kind: str) -> None:
    """A labelled box with its lower left corner at (x, y)."""
    ax.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.8", fc=INK[kind], ec="#868e96"))
    ax.text(corner[0] + size[0] / 2, corner[1] + size[1] / 2, text, ha="center", va="center", fontsize=9)


def arrow(ax, start: tuple[float, float], end: tuple[float, float], head: bool = True) -> None:
    """A line from start to end, with a head or without."""
    style = {"arrowstyle": "-|>" if head else "-", "color": "#495057", "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)
