"""Labels that a teacher gives to crops without labels, and how much each of them counts."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from geopose.adaptation.teacher import VIEWS, agreement, direction_agreement, predict_targets
from geopose.config import LossConfig
from geopose.geometry import D4_MATRICES, direction_angle, flow_direction
from geopose.training.self_training import unlabelled_loss

LIMIT = 1.55
SIDE_PX = 16


class Reader(nn.Module):
    """A teacher that reads heights in the red band and the lean in the green one, however a crop is turned.

    The direction points from the crop's centre to where green is. magnitudes are heights times the factor.
    """

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, image, gsd_m, city, native_gsd_m):
        image = image.float()
        offsets = torch.arange(SIDE_PX) - (SIDE_PX - 1) / 2
        green = image[:, 1] / image[:, 1].sum((-2, -1), keepdim=True)
        x, y = (green.sum(-2) * offsets).sum(-1), (green.sum(-1) * offsets).sum(-1)
        agl_m = image[:, :1] * self.factor / 2
        return {"agl_m": agl_m, "mag_px": agl_m * self.factor, "direction": torch.stack([x, y], -1)}


def crops(heights_m: float = 10.0) -> torch.Tensor:
    """One crop of a height, whose green is in one pixel 5.5 px right of the centre and 0.5 px above."""
    image = torch.zeros(1, 3, SIDE_PX, SIDE_PX)
    image[:, 0] = heights_m
    image[:, 1, 7, 13] = 1
    return image


def batch_of(plain, recoloured, angle_rad: float = math.nan, scale_px_per_m: float = math.nan) -> dict:
    gsd_m = torch.tensor([0.4])
    pose = {"angle_rad": torch.tensor([angle_rad]), "scale_px_per_m": torch.tensor([scale_px_per_m])}
    return {"plain": plain, "recoloured": recoloured, "gsd_m": gsd_m, "native_gsd_m": gsd_m, "city": [""]} | pose


@pytest.mark.parametrize(
    ("one", "other", "weight"),
    [
        (10, 10, 1),
        (10, 10 * math.sqrt(LIMIT), 0.5),  # half-way in the logarithm of the ratio
        (10, 15.6, 0),
        (10, 30, 0),
        (0, 0.9, 1),  # ground
        (0, math.sqrt(LIMIT), 0.5),  # a height below 1 m counts as 1 m
        (0, 1.6, 0),
        (0.2, 3, 0),
    ],
)
def test_heights_agree_by_their_ratio_and_ground_agrees_with_ground(one, other, weight):
    one, other = torch.tensor(float(one)), torch.tensor(float(other))
    assert float(agreement(one, other, LIMIT, 1.0)) == pytest.approx(weight, abs=1e-6)
    assert float(agreement(other, one, LIMIT, 1.0)) == pytest.approx(weight, abs=1e-6)


def test_two_directions_count_by_the_length_of_their_mean():
    def mean(degrees: float):
        return flow_direction(torch.tensor([0.3, 0.3 + math.radians(degrees)])).mean(0, keepdim=True)

    direction, weight = direction_agreement(mean(30))
    assert float(direction_angle(direction)) == pytest.approx(0.3 + math.radians(15), abs=1e-5)
    assert float(weight) == pytest.approx(math.cos(math.radians(15)), abs=1e-5)
    assert float(direction_agreement(mean(60))[1]) == 0
    short = direction_agreement(0.5 * mean(0))  # all views say the same, and none is certain
    assert float(short[1]) == 0


@pytest.mark.parametrize("views", [2, 3, 8])
def test_turned_views_are_turned_back(views):
    assert sorted(VIEWS) == sorted(D4_MATRICES)
    targets = predict_targets(Reader(), batch_of(crops(), crops()), views, LIMIT)
    torch.testing.assert_close(targets.agl_m, crops()[:, :1])
    assert torch.all(targets.agl_weight == 1)
    torch.testing.assert_close(targets.direction, torch.tensor([[5.5, -0.5]]) / math.hypot(5.5, 0.5))
    torch.testing.assert_close(targets.direction_weight, torch.tensor([1.0]))
    torch.testing.assert_close(targets.scale_px_per_m, torch.tensor([2.0]))
    assert float(targets.scale_weight) == 1


def test_no_gradient_flows_into_the_targets():
    teacher = Reader()
    targets = predict_targets(teacher, batch_of(crops(), crops(11)), 2, LIMIT)
    assert not any(value.requires_grad for value in vars(targets).values())
    outputs = Reader()(crops(), None, None, None)
    unlabelled_loss(outputs, targets, LossConfig()).backward()
    assert teacher.factor.grad is None


def test_a_pixel_where_views_disagree_does_not_count():
    other = crops()
    other[0, 0, 2:5, 3] = 40
    targets = predict_targets(Reader(), batch_of(crops(), other), 2, LIMIT)
    disagree = torch.zeros(1, 1, SIDE_PX, SIDE_PX, dtype=torch.bool)
    disagree[0, 0, 2:5, 3] = True
    assert torch.equal(targets.agl_weight == 0, disagree)
    assert torch.all(targets.agl_weight[~disagree] == 1)

    outputs = {key: value.detach() for key, value in Reader()(crops(7), None, None, None).items()}
    planes = [outputs[key].requires_grad_() for key in ("agl_m", "mag_px")]
    unlabelled_loss(outputs, targets, LossConfig()).backward()
    for plane in planes:
        assert torch.equal(plane.grad == 0, disagree)


def test_scale_and_direction_do_not_count_where_views_disagree():
    other = crops()
    other[:, 1] = crops()[:, 1].transpose(-2, -1)  # green is elsewhere: another lean
    targets = predict_targets(Reader(), batch_of(crops(), other), 2, LIMIT)
    assert float(targets.direction_weight) == 0 and float(targets.scale_weight) == 1
    assert not loss_moves(targets, "direction", torch.tensor([[0.0, 1.0]]))

    class Doubtful(Reader):
        def forward(self, image, *inputs):
            outputs = super().forward(image, *inputs)
            return outputs | {"mag_px": outputs["mag_px"] * (1 + image[:, 2].mean())}

    other = crops()
    other[:, 2] = 1
    targets = predict_targets(Doubtful(), batch_of(crops(), other), 2, LIMIT)
    assert float(targets.scale_weight) == 0 and torch.all(targets.agl_weight == 1)
    assert loss_moves(targets, "direction", torch.tensor([[0.0, 1.0]]))
    assert not loss_moves(targets, "mag_px", torch.zeros(1, 1, SIDE_PX, SIDE_PX))


def loss_moves(targets, key: str, value) -> bool:
    """Whether an output changes the loss."""
    outputs = Reader()(crops(), None, None, None)
    return bool(
        unlabelled_loss(outputs, targets, LossConfig())
        != unlabelled_loss(outputs | {key: value}, targets, LossConfig())
    )


def test_a_known_pose_replaces_the_teachers():
    other = crops()
    other[:, 1] = crops()[:, 1].transpose(-2, -1)
    targets = predict_targets(Reader(), batch_of(crops(), other, 1.0, 0.7), 2, LIMIT)
    torch.testing.assert_close(targets.direction, flow_direction(torch.tensor([1.0])))
    assert [float(targets.scale_px_per_m), float(targets.scale_weight)] == pytest.approx([0.7, 1])
    assert float(targets.direction_weight) == 1
    straight_down = predict_targets(Reader(), batch_of(crops(), crops(), 0.0, 0.0), 2, LIMIT)
    assert float(straight_down.direction_weight) == 0 and float(straight_down.scale_weight) == 1


def test_little_agreement_makes_a_small_loss():
    """Sums are divided by the number of pixels, not of those that agree."""
    targets = predict_targets(Reader(), batch_of(crops(), crops()), 2, LIMIT)
    few = torch.zeros_like(targets.agl_weight)
    few[..., :4, :] = 1
    outputs = {**Reader()(crops(7), None, None, None), "direction": targets.direction}
    cfg = LossConfig()
    ratio = unlabelled_loss(outputs, replace(targets, agl_weight=few), cfg) / unlabelled_loss(outputs, targets, cfg)
    assert float(ratio) == pytest.approx(0.25, abs=1e-5)
