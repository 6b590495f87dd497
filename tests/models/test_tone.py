"""One tone for all images: exposures vanish, black and white stay, and the network sees the result."""

import pytest
import torch
from test_models import CITIES, SMALL, random_image

from geopose.config import ModelConfig
from geopose.models.model import create_model
from geopose.models.tone import MEDIAN, STRONGEST, even_tone

GSD_M = torch.tensor([0.3])


def exposed(image, exponent: float):
    """The image on a product with another tone curve."""
    return 255 * (image / 255) ** exponent


def median_share(image) -> float:
    return float((image / 255).mean(1).median())


@pytest.mark.parametrize("exponent", [0.6, 1.0, 1.8])
def test_a_grey_image_has_the_same_look_whatever_its_exposure(exponent):
    image = random_image(1, 1, 40, 50).float().expand(1, 3, 40, 50)
    toned = even_tone(exposed(image, exponent))
    assert median_share(toned) == pytest.approx(MEDIAN, abs=1e-3)
    torch.testing.assert_close(toned, even_tone(image), atol=0.05, rtol=0)


@pytest.mark.parametrize("exponent", [0.7, 1.6])
def test_the_median_of_a_colour_image_comes_close_to_the_target(exponent):
    image = exposed(random_image(1, 3, 64, 64).float(), exponent)
    before, after = abs(median_share(image) - MEDIAN), abs(median_share(even_tone(image)) - MEDIAN)
    assert after < 0.3 * before


@pytest.mark.parametrize(("share", "exponent"), [(0.02, 1 / STRONGEST), (0.98, STRONGEST)])
def test_night_and_fog_are_changed_by_the_strongest_curve_at_most(share, exponent):
    image = torch.full((1, 3, 8, 8), 255 * share)
    torch.testing.assert_close(even_tone(image), exposed(image, exponent))


def test_black_and_white_stay_and_the_order_of_values_is_kept():
    image = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16) ** 2 / 255
    toned = even_tone(image)[0, 0].flatten()
    assert toned[0] == 0
    assert toned[-1] == 255
    assert (toned.diff() > 0).all()


def test_a_border_without_data_does_not_change_the_image_beside_it():
    image = random_image(1, 3, 40, 40).float().clamp(min=1)
    bordered = torch.nn.functional.pad(image, (60, 0, 0, 0))
    torch.testing.assert_close(even_tone(bordered)[..., 60:], even_tone(image))


def test_every_image_of_a_batch_has_its_own_curve():
    images = torch.cat([0.3 * random_image(1, 3, 32, 32).float(), random_image(1, 3, 32, 32).float()])
    apart = torch.cat([even_tone(image[None]) for image in images])
    torch.testing.assert_close(even_tone(images), apart)


@pytest.mark.parametrize("value", [0, 255])
def test_an_image_of_one_value_stays_finite(value):
    image = torch.full((1, 3, 8, 8), float(value))
    torch.testing.assert_close(even_tone(image), image)


def test_a_model_with_an_even_tone_predicts_the_same_for_another_exposure():
    torch.manual_seed(0)
    model = create_model(ModelConfig(**SMALL, even_tone=True)).eval()
    image = random_image(1, 1, 64, 64).float().expand(1, 3, 64, 64)
    with torch.inference_mode():
        plain, bright = (model(shown, GSD_M, CITIES[:1])["agl_m"] for shown in (image, exposed(image, 0.7)))
        model.cfg.even_tone = False
        untoned = model(exposed(image, 0.7), GSD_M, CITIES[:1])["agl_m"]
    spread = float(plain.std())
    torch.testing.assert_close(bright, plain, atol=0.02 * spread, rtol=0)
    assert float((untoned - plain).abs().max()) > 0.1 * spread


def test_the_tone_is_the_same_in_half_precision_and_for_bytes():
    image = random_image(2, 3, 40, 40)
    torch.manual_seed(0)
    model = create_model(ModelConfig(**SMALL, even_tone=True)).eval()
    with torch.inference_mode():
        of_bytes, of_floats = (model(shown, GSD_M.expand(2), CITIES[:2])["agl_m"] for shown in (image, image.float()))
        torch.testing.assert_close(of_bytes, of_floats)
    with torch.autocast("cpu", torch.bfloat16):
        half = even_tone(image.float())
    torch.testing.assert_close(half, even_tone(image.float()))
