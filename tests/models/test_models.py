"""The network: shapes, any input size, precision, what each head may see."""

import pytest
import torch
from pytorch_toolbelt.modules import encoders as toolbelt
from pytorch_toolbelt.modules.upsample import BilinearInterpolationLayer

from geopose.cli import UserError
from geopose.config import ModelConfig
from geopose.models.checkpoints import load_weights, save_weights
from geopose.models.encoders import create_encoder
from geopose.models.heads import AttentionDirectionHead, PooledScaleHead, StandingDirectionHead
from geopose.models.model import CITY_DROPOUT, count_parameters, create_model

CITIES = ["ARG", "JAX"]
SMALL = {"decoder_channels": [8, 8, 16, 16], "head_channels": 8}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model(ModelConfig(**SMALL)).eval()


def random_image(*size):
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (65, 97), (33, 31)])
def test_any_input_size_comes_back_at_stride_one(model, size):
    with torch.inference_mode():
        outputs = model(random_image(2, 3, *size), torch.tensor([0.3, 0.5]), CITIES)
    assert outputs["agl_m"].shape == outputs["mag_px"].shape == (2, 1, *size)
    assert outputs["direction"].shape == (2, 2)
    assert all(value.dtype == torch.float32 for value in outputs.values())


def test_padding_inside_does_not_shift_the_answer(model):
    """The same 64 px image, cut to 63 px by one column: the answer stays in place, up to what the border changes."""
    image = random_image(1, 3, 64, 64)
    gsd_m = torch.tensor([0.4])
    with torch.inference_mode():
        whole, cut = model(image, gsd_m, CITIES[:1])["agl_m"], model(image[..., :63], gsd_m, CITIES[:1])["agl_m"]
    here = (whole[..., :56] - cut[..., :56]).abs().mean()
    shifted = (whole[..., 1:57] - cut[..., :56]).abs().mean()
    assert here < 0.5 * shifted


def test_gsd_reaches_the_height_head_alone(model):
    image = random_image(1, 3, 64, 64)
    with torch.inference_mode():
        a, b = (model(image, torch.tensor([gsd]), CITIES[:1]) for gsd in (0.3, 0.6))
    assert not torch.equal(a["agl_m"], b["agl_m"])
    assert torch.equal(a["mag_px"], b["mag_px"])
    assert torch.equal(a["direction"], b["direction"])


def test_gradients_reach_every_parameter():
    model = create_model(ModelConfig(**SMALL)).train()
    outputs = model(random_image(2, 3, 64, 64), torch.tensor([0.3, 0.5]), CITIES)
    sum(value.square().mean() for value in outputs.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not without


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_direction_heads_dropout_is_the_settings(share):
    """While training, nothing else in the network is random."""
    torch.manual_seed(0)
    model = create_model(ModelConfig(**SMALL, direction_dropout=share)).train()
    image, gsd_m = random_image(2, 3, 64, 64), torch.tensor([0.3, 0.5])
    with torch.inference_mode():
        first, second = (model(image, gsd_m, CITIES) for _ in range(2))
    assert torch.equal(first["agl_m"], second["agl_m"])
    assert torch.equal(first["direction"], second["direction"]) == (share == 0)


def test_bf16_autocast_agrees_with_fp32(model):
    image, gsd_m = random_image(1, 3, 64, 64), torch.tensor([0.4])
    with torch.inference_mode():
        exact = model(image, gsd_m, CITIES[:1])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(image, gsd_m, CITIES[:1])
    for key, value in exact.items():
        assert half[key].dtype == torch.float32
        assert (half[key] - value).abs().max() < 0.05 * value.abs().max() + 0.05


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder_block": "residual", "upsample": "residual_deconv"},
        {"encoder_layers": [1, 2, 3, 4], "decoder_channels": [8, 8, 16], "head_stride": 2, "direction_maps": 3},
        {"encoder": "resnet18", "encoder_weights": "none"},
        {"decoder": "fpn", "decoder_channels": [16]},
        {"direction_head": "attention"},
        {"direction_head": "standing"},
        {"gsd_plane": False, "cities": ["ARG", "OMA"]},
        {"scale_head": True},
        {"encoder_layers": [1, 2, 3, 4], "decoder_channels": [8, 8, 16], "head_stride": 4, "refiner_channels": 8},
    ],
)
def test_variants_build_and_train(changes):
    model = create_model(ModelConfig(**{**SMALL, **changes}))
    outputs = model(random_image(2, 3, 64, 64), torch.tensor([0.3, 0.5]), CITIES)
    sum(value.mean() for value in outputs.values()).backward()
    assert outputs["agl_m"].shape == (2, 1, 64, 64)
    assert count_parameters(model) > 1e5


def test_heads_at_a_coarser_stride_answer_in_place():
    """The plane of a head at stride 4 is as large as the image, and smooth: no 4 px cell is flat."""
    torch.manual_seed(0)
    cfg = ModelConfig(encoder_layers=[1, 2, 3, 4], decoder_channels=[8, 8, 16], head_stride=4)
    model = create_model(cfg).eval()
    with torch.inference_mode():
        agl_m = model(random_image(1, 3, 64, 96), torch.tensor([0.4]), CITIES[:1])["agl_m"]
    assert agl_m.shape == (1, 1, 64, 96)
    steps = (agl_m[..., 1:] - agl_m[..., :-1]).abs()
    assert (steps[..., 8:-8] > 0).float().mean() > 0.9
    with pytest.raises(UserError, match="head_stride=3 must divide 4"):
        create_model(ModelConfig(encoder_layers=[1, 2, 3, 4], decoder_channels=[8, 8, 16], head_stride=3))


def test_the_scale_head_multiplies_the_magnitudes():
    torch.manual_seed(0)
    model = create_model(ModelConfig(**SMALL, scale_head=True)).eval()
    image, gsd_m = random_image(1, 3, 64, 64), torch.tensor([0.4])
    with torch.inference_mode():
        before = model(image, gsd_m, CITIES[:1])
        model.scale_head.layers[-1].bias += 1.0
        after = model(image, gsd_m, CITIES[:1])
    assert before["scale_px_per_m"].tolist() == [1.0]
    torch.testing.assert_close(after["scale_px_per_m"], torch.tensor([1.0]).exp())
    torch.testing.assert_close(after["mag_px"], before["mag_px"] * torch.tensor(1.0).exp())
    assert torch.equal(after["agl_m"], before["agl_m"])


def test_the_scale_head_looks_gsd_up_in_a_table():
    """Linear between knots 1 cm apart; beyond the table its end counts."""
    torch.manual_seed(0)
    model = create_model(ModelConfig(**SMALL, scale_head=True)).eval()
    head = model.scale_head
    with torch.inference_mode():
        head.table += torch.linspace(-1.0, 1.0, len(head.table)).square() / head.TABLE_PACE
        first, second = (head.TABLE_PACE * head.table[:2]).tolist()
        gsd_m = torch.tensor([0.10, 0.30, 0.305, 0.31, 0.60, 0.90])
        images = random_image(1, 3, 64, 64).expand(len(gsd_m), -1, -1, -1)
        scale = model(images, gsd_m, CITIES[:1] * len(gsd_m))["scale_px_per_m"]
    expected = torch.tensor([first, first, (first + second) / 2, second, 1.0, 1.0]).exp()
    torch.testing.assert_close(scale, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("dropout", [0.0, 0.25, 1.0])
def test_the_scale_heads_dropout_leaves_some_images_to_the_table(dropout):
    """In training their share is the setting's; in predictions the image's term has its mean weight."""
    torch.manual_seed(0)
    head = PooledScaleHead(4, "silu", dropout)
    torch.nn.init.constant_(head.layers[-1].bias, 1.0)  # the image's term
    torch.nn.init.constant_(head.table, 0.5 / head.TABLE_PACE)  # the table's
    maps, gsd_m = [torch.zeros(2000, 4, 1, 1)], torch.full((2000,), 0.4)
    with torch.inference_mode():
        in_training = head(maps, gsd_m, gsd_m).log()
        by_gsd = (in_training - 0.5).abs() < 1e-4
        assert by_gsd.float().mean() == pytest.approx(dropout, abs=0.04 if 0 < dropout < 1 else 0)
        torch.testing.assert_close(in_training[~by_gsd], torch.full_like(in_training[~by_gsd], 1.5))
        predicted = head.eval()(maps, gsd_m, gsd_m).log()
    torch.testing.assert_close(predicted, torch.full_like(predicted, 0.5 + 1 - dropout))


def test_the_scale_head_follows_an_image_that_was_resized():
    """By the law of zoom: the same pixels from a file of half their gsd have half its scale."""
    torch.manual_seed(0)
    model = create_model(ModelConfig(**SMALL, scale_head=True)).eval()
    image, gsd_m = random_image(1, 3, 64, 64), torch.tensor([0.4])
    with torch.inference_mode():
        model.scale_head.table += torch.linspace(-1.0, 1.0, len(model.scale_head.table))
        native = model(image, gsd_m, CITIES[:1])["scale_px_per_m"]
        shrunken = model(image, 2 * gsd_m, CITIES[:1], native_gsd_m=gsd_m)
        torch.testing.assert_close(shrunken["scale_px_per_m"], native / 2)
        other_file = model(image, 2 * gsd_m, CITIES[:1])["scale_px_per_m"]
    assert not torch.allclose(other_file, native / 2, rtol=0.05)


def test_a_compiled_network_is_compiled_once_for_all_cities():
    """Traced, but run without the code generator, which takes minutes."""
    names = ["ARG", "ATL", "JAX", "OMA"]
    cfg = ModelConfig(
        encoder_weights="none", encoder_layers=[1, 2], decoder_channels=[8], head_channels=4, cities=names
    )
    model, plain = create_model(cfg).eval(), None
    pairs = [[one, other] for one in [*names, "PAR"] for other in names]
    torch._dynamo.reset()
    with torch.inference_mode():
        image, gsd_m = random_image(2, 3, 32, 32), torch.tensor([0.3, 0.5])
        plain = [model(image, gsd_m, pair)["agl_m"] for pair in pairs]
        model.compile(backend="eager")
        model(image, gsd_m, pairs[0])
        with torch._dynamo.config.patch(error_on_recompile=True):
            compiled = [model(image, gsd_m, pair)["agl_m"] for pair in pairs]
    assert all(torch.equal(one, other) for one, other in zip(plain, compiled, strict=True))
    assert not torch.equal(plain[0], plain[1])


def test_the_table_of_scales_is_multiplied_in_float32():
    torch.manual_seed(1)
    head = PooledScaleHead(4, "silu")
    torch.nn.init.normal_(head.table)
    maps, gsd_m = [torch.zeros(3, 4, 2, 2)], torch.tensor([0.31, 0.403, 0.557])
    with torch.inference_mode():
        exact = head(maps, gsd_m, gsd_m)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(head(maps, gsd_m, gsd_m), exact, rtol=1e-6, atol=0)


def test_frozen_encoder_weights_stay_and_the_rest_learns():
    model = create_model(ModelConfig(**SMALL, encoder_frozen=["conv_stem", "bn1", "blocks.0"])).train()
    outputs = model(random_image(2, 3, 64, 64), torch.tensor([0.3, 0.5]), CITIES)
    sum(value.square().mean() for value in outputs.values()).backward()
    prefixes = tuple(f"encoder.network.encoder.{name}" for name in ("conv_stem", "bn1", "blocks.0"))
    frozen = [name for name, p in model.named_parameters() if p.grad is None]
    assert frozen and all(name.startswith(prefixes) for name in frozen)
    assert all(p.grad is None for name, p in model.named_parameters() if name.startswith(prefixes))
    with pytest.raises(UserError, match=r"no encoder weight starts with blocks\.9; its parts are conv_stem"):
        create_model(ModelConfig(**SMALL, encoder_frozen=["blocks.9"]))


def test_swin_answers_at_any_size():
    """Its maps are [B,H,W,C] inside, and its windows do not divide most images."""
    cfg = ModelConfig(
        encoder="swin_tiny_patch4_window7_224",
        encoder_weights="none",
        encoder_layers=[0, 1, 2, 3],
        decoder_channels=[8, 8, 8],
        head_channels=8,
    )
    with torch.inference_mode():
        outputs = create_model(cfg).eval()(random_image(1, 3, 70, 100), torch.tensor([0.4]), CITIES[:1])
    assert outputs["agl_m"].shape == (1, 1, 70, 100)


def test_the_city_reaches_the_height_head_alone_and_unknown_cities_share_a_slot():
    torch.manual_seed(0)
    model = create_model(ModelConfig(**SMALL, cities=["ARG", "OMA"])).eval()
    image, gsd_m = random_image(1, 3, 64, 64), torch.tensor([0.4])
    with torch.inference_mode():
        arg, oma, sea, bos = (model(image, gsd_m, [city]) for city in ("ARG", "OMA", "SEA", "BOS"))
    assert not torch.equal(arg["agl_m"], oma["agl_m"])
    assert not torch.equal(arg["agl_m"], sea["agl_m"])
    assert torch.equal(sea["agl_m"], bos["agl_m"])
    assert torch.equal(arg["mag_px"], oma["mag_px"])


def test_the_unknown_slot_is_trained():
    model = create_model(ModelConfig(**SMALL, cities=["ARG"])).train()
    features, gsd_m = torch.zeros(4000, 8, 2, 2), torch.full((4000,), 0.4)
    _, planes = model.condition_planes(features, gsd_m, model.number_cities(["ARG"] * 4000, gsd_m.device))
    assert 0.7 * CITY_DROPOUT < planes[:, 1, 0, 0].mean() < 1.3 * CITY_DROPOUT
    assert (planes.sum(1) == 1).all()


def test_attention_looks_where_the_height_changes():
    head = AttentionDirectionHead(4, "silu")
    features = torch.randn(1, 4, 16, 16)
    agl_m = torch.zeros(1, 1, 64, 64)
    agl_m[..., 32:] = 500.0  # a wall in column 31, the last of the features' column 7
    agl_m.requires_grad_()
    direction = head(features, agl_m)
    along_wall = head.dense(features)[0, :, :, 7].mean(-1)
    torch.testing.assert_close(direction[0], along_wall, atol=1e-4, rtol=1e-4)
    direction.sum().backward()
    assert agl_m.grad is None


def test_standing_pixels_decide_the_direction():
    head = StandingDirectionHead(4, "silu")
    features = torch.randn(1, 4, 16, 16)
    agl_m = torch.zeros(1, 1, 64, 64)
    agl_m[..., 32:48, 8:24] = 20.0  # rows 8 to 11 and columns 2 to 5 of the features
    agl_m.requires_grad_()
    direction = head(features, agl_m)
    dense = head.dense(features)[0]
    standing = dense[:, 8:12, 2:6].mean((-2, -1))
    torch.testing.assert_close(direction[0], standing, atol=0.1, rtol=0.1)
    assert (direction[0] - standing).norm() < 0.3 * (dense.mean((-2, -1)) - standing).norm()
    direction.sum().backward()
    assert agl_m.grad is None
    flat = head(features, torch.zeros(1, 1, 64, 64))
    torch.testing.assert_close(flat[0], dense.mean((-2, -1)), atol=1e-5, rtol=1e-4)


def test_the_decoder_does_not_shift_maps_towards_the_borders():
    """A ramp that is enlarged stays the same ramp; with aligned corners it would be steeper or flatter."""
    model = create_model(ModelConfig(**SMALL))
    enlarge = [m for m in model.decoder.modules() if isinstance(m, BilinearInterpolationLayer)]
    assert enlarge
    ramp = torch.arange(8.0).expand(1, enlarge[0].in_channels, 8, 8)
    wide = enlarge[0](ramp, (16, 16))
    torch.testing.assert_close(wide[0, 0, 0, 2:-2].diff(), torch.full((11,), 0.5))


@pytest.mark.parametrize(("name", "toolbelts"), [("b6", toolbelt.B6Encoder), ("b7", toolbelt.B7Encoder)])
def test_b6_and_b7_by_their_timm_names_are_toolbelts_encoders(name, toolbelts):
    """The same maps from the same weights, under the same names; only the recipe's drop path is a setting here."""
    cfg = ModelConfig(encoder=f"tf_efficientnet_{name}.ns_jft_in1k", encoder_weights="none", encoder_drop_path=0.2)
    ours, theirs = create_encoder(cfg), toolbelts(pretrained=False, layers=[0, 1, 2, 3, 4])
    theirs.load_state_dict(ours.network.state_dict())
    assert (ours.channels, ours.strides) == (theirs.channels, theirs.strides)
    rates = [
        [getattr(m.drop_path, "drop_prob", 0) for m in n.modules() if hasattr(m, "drop_path")] for n in (ours, theirs)
    ]
    assert rates[0] == rates[1] and max(rates[0]) > 0.15
    image = random_image(1, 3, 64, 64)
    with torch.inference_mode():
        maps = ours.eval()(image), theirs.eval()((image - ours.mean) / ours.std)
    assert all(torch.equal(a, b) for a, b in zip(*maps, strict=True))
    assert ours.mean[0, :, 0, 0].tolist() == pytest.approx([255 * m for m in (0.485, 0.456, 0.406)])


def test_weights_round_trip_and_misfits_are_named(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(model, path)
    again = create_model(ModelConfig(**SMALL), load_weights=False)
    load_weights(again, path)
    assert all(torch.equal(again.state_dict()[k], v) for k, v in model.state_dict().items())
    with pytest.raises(UserError, match=r"model.safetensors: (lacks|has)"):
        load_weights(create_model(ModelConfig(**{**SMALL, "head_channels": 12}), load_weights=False), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model.safetensors: truncated or not"):
        load_weights(again, path)
