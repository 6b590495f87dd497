"""Images at another size: exact means over areas, and no side that the network has to pad."""

import cv2
import numpy as np
import pytest
import torch
from test_models import CITIES, SMALL, random_image

from geopose.config import ModelConfig
from geopose.models.model import create_model
from geopose.models.zoom import WHOLE_STRIDES_PX, forward_zoomed, resize


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model(ModelConfig(**SMALL)).eval()


@pytest.mark.parametrize("size", [(30, 44), (60, 66), (41, 87)])
def test_a_smaller_image_has_the_means_over_areas_that_crops_have_in_training(size):
    image = random_image(1, 3, 60, 88).float()
    expected = cv2.resize(image[0].permute(1, 2, 0).numpy(), size[::-1], interpolation=cv2.INTER_AREA)
    with torch.autocast("cpu", torch.bfloat16):  # in bfloat16 a pixel of 255 is off by up to 0.5
        smaller = resize(image, size)
    np.testing.assert_allclose(smaller[0].permute(1, 2, 0).numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("zoom", [0.3, 0.5, 0.77, 1.6])
@pytest.mark.parametrize("sides", [(489, 526), (75, 200), (20, 40)])
def test_an_enlarged_or_smaller_image_is_never_padded(sides, zoom):
    seen = []

    def network(image, gsd_m, city, native_gsd_m=None):
        seen.append(tuple(image.shape[-2:]))
        plane = image[:, :1]
        return {"agl_m": plane, "mag_px": plane, "direction": torch.tensor([[0.6, 0.8]])}

    outputs = forward_zoomed(network, torch.zeros(1, 3, *sides), torch.tensor([0.4]), CITIES[:1], zoom)
    (size,) = seen
    for new, old in zip(size, sides, strict=True):
        assert new % WHOLE_STRIDES_PX == 0
        assert new == WHOLE_STRIDES_PX or abs(new - zoom * old) <= WHOLE_STRIDES_PX / 2
    assert outputs["agl_m"].shape == outputs["mag_px"].shape == (1, 1, *sides)


def test_padding_has_the_colour_that_is_zero_for_the_encoder(model):
    image = random_image(1, 3, 50, 61)
    framed = model.encoder.mean.expand(1, 3, 64, 64).clone()
    framed[..., 7:57, 1:62] = image
    with torch.inference_mode():
        cut, whole = (model(values, torch.tensor([0.4]), CITIES[:1]) for values in (image, framed))
    torch.testing.assert_close(cut["agl_m"], whole["agl_m"][..., 7:57, 1:62])
    torch.testing.assert_close(cut["direction"], whole["direction"])
