"""From the rendered image to the pixels of the file: air, optics, pan-sharpening, noise, tone and compression.

`random_sensor` draws the properties of one acquisition, and `expose` applies them to an image.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from geopose.synthetic.kernels import kernel

DARK_SHARE, BRIGHT_SHARE = 0.18, 0.15  # of products that are not stretched to the display's range, or beyond it
LINEAR_SHARE = 0.3  # of products whose levels are proportional to the light, so that all but white roofs is dark
RESAMPLED_SHARE = 0.3


@dataclass(frozen=True)
class Sensor:
    """Properties of one acquisition. gain and haze are per band; haze and noise are in grey levels of 0-255.

    band_shift_px: offsets (x, y) of red, green and blue, which are recorded one after the other.
    resampling: size to which the product was reduced before it was enlarged again; 1 = it was not.
    """

    gain: tuple[float, float, float]
    haze: tuple[float, float, float]
    gamma: float
    blur_px: float
    sharpen: float
    halo_px: float
    band_shift_px: tuple[tuple[float, float], ...]
    resampling: float
    noise: float
    jpeg_quality: int  # 0 = no compression


def random_sensor(rng: np.random.Generator, gsd_m: float) -> Sensor:
    """A plausible acquisition. The blur is a fixed length on the ground, so it is more pixels where gsd_m is finer.

    Real products differ most in exposure. Some show shadows in black and walls in white; some are so dark that roofs
    are grey; some have a veil over everything.
    """
    kind = rng.random()
    exposure = np.exp(0.2 * rng.standard_normal())
    if kind < DARK_SHARE:
        exposure = np.exp(rng.uniform(np.log(0.3), np.log(0.75)))
    elif kind < DARK_SHARE + BRIGHT_SHARE:
        exposure = np.exp(rng.uniform(np.log(1.2), np.log(2.0)))
    gamma = np.exp(0.16 * rng.standard_normal())
    if rng.random() < LINEAR_SHARE:
        gamma *= rng.uniform(1.3, 2.0)
        exposure = max(exposure, rng.uniform(0.7, 1.2))  # dark and linear at once would be black
    balance = np.array([1.02, 0.99, 0.96]) * np.exp(0.05 * rng.standard_normal(3))
    depth = abs(rng.normal(0.0, 8.0))
    veil = np.array([15.0 + 0.8 * depth, 16.0 + 0.95 * depth, 21.0 + 1.25 * depth])
    # Products are stretched from the darkest pixels: part of the veil, or more than all of it, is taken away.
    haze = exposure * (veil - rng.uniform(0.0, 1.2) * np.array([17.0, 18.5, 25.0]))
    return Sensor(
        gain=tuple(exposure * balance),
        haze=tuple(haze),
        gamma=float(gamma),
        blur_px=rng.uniform(0.14, 0.44) / gsd_m,
        sharpen=rng.uniform(0.0, 1.3),
        halo_px=rng.uniform(0.9, 2.2),
        band_shift_px=tuple((float(x), float(y)) for x, y in 0.22 * rng.standard_normal((3, 2))),
        resampling=float(rng.uniform(0.55, 1.0)) if rng.random() < RESAMPLED_SHARE else 1.0,
        noise=rng.uniform(0.5, 2.4),
        jpeg_quality=int(rng.integers(70, 97)) if rng.random() < 0.4 else 0,
    )


def expose(radiance: np.ndarray, sensor: Sensor, rng: np.random.Generator) -> np.ndarray:
    """Pixels uint8 [H, W, 3] of a noise-free image radiance float32 [H, W, 3] (0-255, may exceed 255)."""
    height, width = radiance.shape[:2]
    image = _shift_bands(cv2.GaussianBlur(radiance, (0, 0), sensor.blur_px), sensor.band_shift_px)
    image = _pan_sharpen(image, sensor.sharpen, sensor.halo_px)
    if sensor.resampling < 1.0:
        smaller = (max(1, round(width * sensor.resampling)), max(1, round(height * sensor.resampling)))
        image = cv2.resize(
            cv2.resize(image, smaller, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
        )
    pixels = np.empty(image.shape, np.uint8)
    gain, haze = np.array(sensor.gain, dtype=np.float32), np.array(sensor.haze, dtype=np.float32)
    _record(image, gain, haze, sensor.noise * _grain(rng, height, width), pixels)
    pixels = cv2.LUT(pixels, _tone_table(sensor.gamma))
    if sensor.jpeg_quality:
        coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg_quality])[1]
        pixels = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
    return pixels


def _shift_bands(image: np.ndarray, shifts_px: tuple) -> np.ndarray:
    """The image [H, W, 3] with each band moved by its offset (x, y) in pixels: strong edges get coloured fringes."""
    height, width = image.shape[:2]
    bands = [
        cv2.warpAffine(
            band,
            np.array([[1.0, 0.0, x], [0.0, 1.0, y]]),
            (width, height),
            borderMode=cv2.BORDER_REPLICATE,
        )
        for band, (x, y) in zip(cv2.split(image), shifts_px, strict=True)
    ]
    return cv2.merge(bands)


def _pan_sharpen(image: np.ndarray, sharpen: float, halo_px: float) -> np.ndarray:
    """Colour at a third of the resolution with brightness at full resolution, and the usual dark and bright halos."""
    height, width = image.shape[:2]
    pan = cv2.transform(image, np.array([[0.35, 0.4, 0.25]], dtype=np.float32))
    small = cv2.resize(image, (max(1, width // 3), max(1, height // 3)), interpolation=cv2.INTER_AREA)
    colour = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    blurred_pan = cv2.transform(colour, np.array([[0.35, 0.4, 0.25]], dtype=np.float32))
    halo = pan - cv2.GaussianBlur(pan, (0, 0), halo_px)
    detail = pan - blurred_pan + sharpen * halo
    _add_detail(image, pan, blurred_pan, detail, colour)
    return colour


@kernel
def _add_detail(image, pan, blurred_pan, detail, colour):
    """Turn the coarse colour [H, W, 3] into the sharpened image, in place. image [H, W, 3]; the others [H, W].

    NumPy is slow where an array [H, W] meets one [H, W, 3]. All numbers are float32, as NumPy would have them.
    """
    coarse, fine = np.float32(0.65), np.float32(0.35)
    rows, cols = pan.shape
    for y in range(rows):
        for x in range(cols):
            for band in range(3):
                own = image[y, x, band] - pan[y, x] + blurred_pan[y, x]
                colour[y, x, band] = coarse * colour[y, x, band] + fine * own + detail[y, x]


@kernel
def _record(image, gain, haze, grain, pixels):
    """Fill pixels uint8 [H, W, 3] from image [H, W, 3]: gain and haze per band, and grain [H, W] in grey levels."""
    dark, rise = np.float32(0.6), np.float32(0.4 / 128.0)  # bright pixels have more grain
    rows, cols = grain.shape
    for y in range(rows):
        for x in range(cols):
            for band in range(3):
                value = image[y, x, band] * gain[band] + haze[band]
                value += grain[y, x] * (dark + value * rise)
                pixels[y, x, band] = min(max(value, np.float32(0.0)), np.float32(255.0))


def _grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Detector noise [H, W] of standard deviation 1, slightly correlated as after resampling."""
    white = rng.standard_normal((height, width), dtype=np.float32)
    return 1.35 * cv2.GaussianBlur(white, (3, 3), 0.55)


def _tone_table(gamma: float) -> np.ndarray:
    """Lookup table uint8 [256] of a gamma curve."""
    levels = np.linspace(0.0, 1.0, 256)
    return np.rint(255.0 * levels**gamma).astype(np.uint8)
