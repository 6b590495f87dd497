"""Training augmentation: Albumentations transforms that also transform the pose, by the laws of geometry.py.

create_transform builds the chain of the configured level. A chain is called with image uint8 [H,W,3], mask float32
[H,W] (heights in metres, NaN unknown) and pose, a geometry.Pose of Python floats. Spatial transforms must be
pose-aware; compose rejects others.
"""

import os
import random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise the import looks for a newer version online

import albumentations as A
import cv2
import numpy as np

from geopose.config import AugmentConfig
from geopose.data.stretch import stretch_heights
from geopose.geometry import D4_MATRICES, IDENTITY, Pose, transform_pose, zoom_matrix


class PoseAware:
    """Mix-in that adds the target `pose`. Put it before a spatial Albumentations class."""

    @property
    def targets(self):
        return {**super().targets, "pose": self.apply_to_pose}

    def apply_to_pose(self, pose: Pose, **params) -> Pose:
        moved = transform_pose(pose, self.pose_matrix(params))
        return Pose(float(moved.angle_rad), float(moved.scale_px_per_m), float(moved.gsd_m))

    def pose_matrix(self, params: dict) -> np.ndarray:
        """The matrix [2,2] by which this draw moves pixel offsets."""
        raise TypeError(f"{type(self).__name__} must define pose_matrix")


class PoseD4(PoseAware, A.D4):
    """A random one of the eight symmetries of the square."""

    def pose_matrix(self, params):
        return D4_MATRICES[params["group_element"]]


class PoseResize(PoseAware, A.Resize):
    """A square crop resized to size x size. Heights use nearest-neighbour, so that no new heights appear."""

    def __init__(self, size: int):
        # INTER_NEAREST would read heights half a pixel above and left of the position where it reads the image.
        super().__init__(size, size, mask_interpolation=cv2.INTER_NEAREST_EXACT, area_for_downscale="image")

    def pose_matrix(self, params):
        height, width = params["shape"][:2]
        if height != width:
            raise ValueError(f"a crop of {height}x{width} is not a square; only squares can be resized")
        return zoom_matrix(self.height / height)


class PoseAffine(PoseAware, A.Affine):
    """Shift, zoom and rotation. Pixels from outside the image are black and have unknown height."""

    def __init__(self, zoom: tuple[float, float], rotate_deg: float, shift: float, p: float):
        super().__init__(
            scale=zoom,
            rotate=(-rotate_deg, rotate_deg),
            translate_percent=(-shift, shift),
            keep_ratio=True,
            mask_interpolation=cv2.INTER_NEAREST,
            fill_mask=float("nan"),
            p=p,
        )

    def pose_matrix(self, params):
        return params["matrix"][:2, :2]


class PoseCoarseDropout(PoseAware, A.CoarseDropout):
    """Black blocks in the image, with unknown heights."""

    def __init__(self, blocks: tuple[int, int], side_px: tuple[int, int], p: float):
        super().__init__(blocks, hole_height_range=side_px, hole_width_range=side_px, fill_mask=float("nan"), p=p)

    def pose_matrix(self, params):
        return IDENTITY


class PoseHeightStretch(PoseAware, A.DualTransform):
    """All heights times a random factor, uniform in its logarithm, and the image warped to match."""

    def __init__(self, factor: tuple[float, float], p: float):
        super().__init__(p=p)
        self.factor = factor

    @property
    def targets_as_params(self):
        return ["image", "mask", "pose"]

    def get_params_dependent_on_data(self, params, data):
        low, high = np.log(self.factor)
        factor = float(np.exp(self.py_random.uniform(low, high)))
        rgb, agl_m = stretch_heights(data["image"], data["mask"], data["pose"], factor)
        return {"stretched_rgb": rgb, "stretched_agl_m": agl_m}

    def apply(self, img, stretched_rgb, **params):
        return stretched_rgb

    def apply_to_mask(self, mask, stretched_agl_m, **params):
        return stretched_agl_m

    def pose_matrix(self, params):
        return IDENTITY


class PoseLabelSpeckle(PoseAware, A.DualTransform):
    """A small share of the known heights, replaced by heights of other pixels. Lidar labels have such errors."""

    def __init__(self, share: float, p: float):
        super().__init__(p=p)
        self.share = share

    def apply(self, img, **params):
        return img

    def apply_to_mask(self, mask, **params):
        known = np.flatnonzero(~np.isnan(mask))
        count = int(self.share * len(known))
        speckled = mask.copy()
        speckled.flat[self.random_generator.choice(known, count)] = mask.flat[
            self.random_generator.choice(known, count)
        ]
        return speckled

    def pose_matrix(self, params):
        return IDENTITY


class Fog(A.ImageOnlyTransform):
    """A patchy white veil. Its thickest parts have the drawn opacity.

    A.RandomFog takes 0.5 to 1.5 s for 768 x 768 px and also blurs the whole image over 25 px.
    """

    PATCHES = 6  # along each side

    def __init__(self, opacity: tuple[float, float]):
        super().__init__()
        self.opacity = opacity

    def apply(self, img, **params):
        patches = self.random_generator.uniform(0.4, 1.0, (self.PATCHES, self.PATCHES)).astype(np.float32)
        veil = cv2.resize(patches, img.shape[1::-1]) * np.float32(self.py_random.uniform(*self.opacity))
        return np.rint(img + (255 - img) * veil[..., None]).astype(np.uint8)


class ColourPCA(A.FancyPCA):
    """One shift of all colours along their principal components (Krizhevsky 2012). A.FancyPCA takes 100 ms."""

    def apply(self, img, alpha_vector, **params):
        variances, components = np.linalg.eigh(np.cov(img[::8, ::8].reshape(-1, 3) / 255, rowvar=False))
        return cv2.add(img, (*(255 * components @ (alpha_vector * variances)), 0))


def create_transform(cfg: AugmentConfig) -> A.Compose:
    """The chain of a training crop: resizing to crop_px, the configured options on heights, the configured level.

    The levels light and medium are those of the second-place recipe. hard is medium with wider ranges, compression and
    blur. safe and sensor move pixels only by flips and quarter turns. sensor imitates the effects of cameras, optics
    and file compression. All levels except none turn or mirror crops: the share turn_probability of them.
    """
    chain = [PoseResize(cfg.crop_px)]
    if cfg.stretch_probability:
        chain.append(PoseHeightStretch((1 / cfg.stretch_factor, cfg.stretch_factor), p=cfg.stretch_probability))
    if cfg.speckle_probability:
        chain.append(PoseLabelSpeckle(cfg.speckle_share, p=cfg.speckle_probability))
    if cfg.level != "none":
        chain.append(PoseD4(p=cfg.turn_probability))
    return compose(chain + LEVELS[cfg.level]())


def create_recolouring(strong: bool) -> A.Compose:
    """Other tones, colours and noise for images without labels. No pixel moves. strong makes larger changes."""
    if not strong:
        return compose([A.OneOf([*_tones(brightness=0.2), *_colours(), A.GaussianBlur((3, 3))], p=1.0)])
    optics = [*_noises(), A.ImageCompression(quality_range=(60, 95)), A.GaussianBlur((3, 5)), A.Sharpen()]
    jitter = A.ColorJitter((0.6, 1.4), (0.6, 1.4), saturation=(0.4, 1.4), hue=(-0.05, 0.05), p=1.0)
    return compose([jitter, A.OneOf([*_tones(brightness=0.3), *_colours()], p=0.5), A.OneOf(optics, p=0.5)])


def _safe() -> list:
    return [A.RandomGamma(), A.RandomToneCurve(), A.RandomBrightnessContrast()]


def _sensor() -> list:
    faded = A.ColorJitter((1, 1), (1, 1), saturation=(0.2, 1.3), hue=(-0.03, 0.03))
    return [
        A.OneOf(_tones(brightness=0.3), p=0.8),
        A.OneOf([faded, A.RGBShift(15, 15, 15), A.ToGray(), ColourPCA()], p=0.6),
        A.OneOf([*_noises(), A.ImageCompression(quality_range=(60, 95)), A.GaussianBlur((3, 3)), A.Sharpen()], p=0.4),
    ]


def _light() -> list:
    return [
        PoseAffine(zoom=(0.9, 1.1), rotate_deg=22, shift=0.0625, p=0.5),
        A.OneOf(_tones(brightness=0.1), p=0.5),
        A.OneOf(_noises(), p=0.1),
        A.OneOf(_colours(), p=0.1),
    ]


def _medium() -> list:
    return [
        PoseAffine(zoom=(0.9, 1.1), rotate_deg=22, shift=0.0625, p=0.5),
        A.OneOf(_tones(brightness=0.1), p=0.5),
        A.OneOf([*_noises(), Fog((0.1, 0.5))], p=0.1),
        A.OneOf(_colours(), p=0.1),
        PoseCoarseDropout((1, 2), (8, 128), p=0.1),
    ]


def _hard() -> list:
    return [
        PoseAffine(zoom=(0.7, 1.5), rotate_deg=45, shift=0.0625, p=0.5),
        A.OneOf(_tones(brightness=0.3), p=0.8),
        A.OneOf([*_noises(), Fog((0.1, 0.5))], p=0.3),
        A.OneOf(_colours(), p=0.3),
        A.OneOf([A.ImageCompression(quality_range=(70, 95)), A.Downscale(scale_range=(0.5, 0.75))], p=0.3),
        A.OneOf([A.MotionBlur(blur_limit=(3, 5)), A.GaussianBlur(blur_limit=(3, 5)), A.Sharpen()], p=0.3),
        PoseCoarseDropout((1, 2), (8, 128), p=0.1),
    ]


def _tones(brightness: float) -> list:
    return [A.RandomBrightnessContrast(brightness, brightness), A.CLAHE(), A.RandomToneCurve(), A.RandomGamma()]


def _noises() -> list:
    # Gaussian noise of 3 to 7 grey levels. The default of Albumentations has 51 to 112.
    return [A.ISONoise(), A.GaussNoise(std_range=(0.012, 0.028)), A.MultiplicativeNoise()]


def _colours() -> list:
    return [A.RGBShift(10, 10, 10), A.HueSaturationValue(5, 5, 5), ColourPCA()]


LEVELS = {"none": list, "d4": list, "safe": _safe, "sensor": _sensor, "light": _light, "medium": _medium, "hard": _hard}


def compose(chain: list) -> A.Compose:
    """An A.Compose of transforms. Raises TypeError for a transform that moves pixels but not the pose."""
    for transform in _leaves(chain):
        if isinstance(transform, A.DualTransform) and not isinstance(transform, PoseAware):
            raise TypeError(f"{type(transform).__name__} moves pixels but not the pose; use a PoseAware transform")
    return A.Compose(chain)


def seed_transform(transform: A.Compose, seed: int) -> None:
    """Make the next draw of a chain a pure function of seed.

    All transforms of the chain share one generator. set_random_seed of Albumentations would give each transform its
    own generator with the same seed, so all of them would draw the same numbers.
    """
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))


def _leaves(chain):
    for transform in chain:
        if isinstance(transform, A.BaseCompose):
            yield from _leaves(transform.transforms)
        else:
            yield transform
