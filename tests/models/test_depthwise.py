"""Gradients of depthwise convolutions against PyTorch's own."""

import pytest
import torch
from torch.nn import functional

from geopose.models.depthwise import DepthwiseConv, fast_depthwise

CPU = torch.device("cpu")
CALLS = [  # kernel, stride, padding, height, width
    (5, 1, 2, 6, 6),
    (5, 2, 0, 15, 16),
    (3, 2, 1, 9, 12),
    (3, 1, 1, 7, 5),
    (5, 2, 2, 11, 8),
]


def gradients(call, dtype, fast, conv=functional.conv2d):
    kernel, stride, padding, height, width = call
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(3, 8, height, width, generator=generator).to(dtype)
    image = image.contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(8, 1, kernel, kernel, generator=generator).to(dtype).requires_grad_()
    bias = torch.randn(8, generator=generator).to(dtype).requires_grad_()
    with fast_depthwise(CPU) if fast else torch.enable_grad():
        plane = conv(image, weight, bias, stride, padding, 1, 8)
    plane.backward(torch.randn(plane.shape, generator=generator).to(dtype))
    return plane.detach(), image.grad, weight.grad, bias.grad


@pytest.mark.parametrize("call", CALLS)
def test_values_and_gradients_are_those_of_pytorch(call):
    for ours, theirs in zip(gradients(call, torch.float32, True), gradients(call, torch.float32, False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("call", CALLS)
def test_in_bfloat16_they_are_as_near_to_float32_as_its_eight_bits_allow(call):
    for ours, exact in zip(gradients(call, torch.bfloat16, True), gradients(call, torch.bfloat16, False), strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - exact.float()).abs().max() < 0.02 * exact.float().abs().max()


def test_it_is_taken_inside_only_and_only_by_depthwise_convolutions():
    def kind(weight, groups, **kwargs):
        image = torch.randn(1, 8, 6, 6, requires_grad=True)
        return type(functional.conv2d(image, weight.requires_grad_(), groups=groups, **kwargs).grad_fn).__name__

    depthwise, grouped = torch.randn(8, 1, 3, 3), torch.randn(8, 4, 3, 3)
    assert kind(depthwise, 8) == "ConvolutionBackward0"
    with fast_depthwise(CPU):
        assert "DepthwiseConv" in kind(depthwise, 8)
        assert kind(grouped, 2) == "ConvolutionBackward0"
        assert kind(depthwise, 8, dilation=2) == "ConvolutionBackward0"
        assert kind(depthwise, 8, padding="same") == "ConvolutionBackward0"
        assert kind(depthwise, 8, padding=3) == "ConvolutionBackward0"


def test_a_frozen_weight_gets_no_gradient_and_autocast_reaches_inside():
    image = torch.randn(2, 8, 6, 6, requires_grad=True)
    weight = torch.randn(8, 1, 5, 5)
    with fast_depthwise(CPU), torch.autocast("cpu", torch.bfloat16):
        plane = functional.conv2d(image, weight, None, 1, 2, 1, 8)
    assert plane.dtype == torch.bfloat16
    plane.float().sum().backward()
    assert weight.grad is None and image.grad.dtype == torch.float32


def test_nothing_is_built_for_prediction():
    with torch.inference_mode(), fast_depthwise(CPU) as mode:
        assert mode is None
    assert DepthwiseConv.apply(torch.ones(1, 2, 3, 3), torch.ones(2, 1, 3, 3), 1, (1, 1)).shape == (1, 2, 3, 3)
