"""Translation without a network: the colours or the coarse spectrum of a random target image, by Albumentations."""

import os
import zlib
from dataclasses import dataclass

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise the import looks for a newer version online

import albumentations as A
import numpy as np

from geopose.adaptation.config import ColourConfig
from geopose.adaptation.images import TargetImage, read_window
from geopose.data.transforms import seed_transform

REFERENCE = "reference"


@dataclass(frozen=True)
class ColourTransfer:
    """Translates a tile by a random window of the target. The result depends on the seed and the tile's id only.

    method: "fda" exchanges the amplitudes of the lowest frequencies (Yang and Soatto, CVPR 2020), "histogram" the
    values of each colour.
    """

    method: str
    cfg: ColourConfig
    targets: list[TargetImage]
    bands: tuple[int, ...]
    seed: int

    def __call__(self, rgb: np.ndarray, tile_id: str) -> np.ndarray:
        """rgb uint8 [H,W,3]. Returns the same size."""
        rng = np.random.default_rng([self.seed, zlib.crc32(tile_id.encode())])
        reference = read_window(self.targets, self.bands, rgb.shape[:2], rng)
        if self.method == "fda":
            transform = A.FDA(beta_limit=tuple(self.cfg.fda_beta), metadata_key=REFERENCE, p=1)
        else:
            blend = tuple(self.cfg.histogram_blend)
            transform = A.HistogramMatching(blend_ratio=blend, metadata_key=REFERENCE, p=1)
        chain = A.Compose([transform])
        seed_transform(chain, int(rng.integers(2**31)))
        return chain(image=rgb, **{REFERENCE: [reference]})["image"]
