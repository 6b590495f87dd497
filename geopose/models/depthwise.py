"""Faster gradients of depthwise convolutions on a CPU. They take most of the training step of a light encoder.

oneDNN has no depthwise kernel for the weight gradient of a 5x5 convolution or for the input gradient of a strided
convolution. It falls back to kernels that do many times the work. Both gradients are depthwise convolutions
themselves, so they are computed as such here.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def fast_depthwise(device: torch.device) -> AbstractContextManager:
    """A context in which depthwise 2-D convolutions on a CPU get the gradients below. Other devices are unaffected."""
    return FastDepthwise() if device.type == "cpu" and torch.is_grad_enabled() else nullcontext()


class FastDepthwise(TorchFunctionMode):
    """Redirects every depthwise call of functional.conv2d to DepthwiseConv."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not functional.conv2d:
            return func(*args, **(kwargs or {}))
        return conv2d(*args, **(kwargs or {}))


def conv2d(image, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """functional.conv2d, computed by DepthwiseConv where that is possible.

    It needs one filter per channel, equal strides, no dilation, and padding smaller than the kernel.
    """
    stride, dilation = pair(stride), pair(dilation)
    depthwise = groups == image.shape[1] == weight.shape[0] > 1
    plain = not isinstance(padding, str) and dilation == (1, 1) and stride[0] == stride[1]
    if not (depthwise and plain and all(p < k for p, k in zip(pair(padding), weight.shape[2:], strict=True))):
        return functional.conv2d(image, weight, bias, stride, padding, dilation, groups)
    if torch.is_autocast_enabled("cpu"):  # autocast does not reach into a custom autograd.Function
        dtype = torch.get_autocast_dtype("cpu")
        image, weight = image.to(dtype), weight.to(dtype)
    plane = DepthwiseConv.apply(image, weight, stride[0], pair(padding))
    return plane if bias is None else plane + bias.to(plane).view(-1, 1, 1)


def pair(value) -> tuple:
    """(value, value) for a number; a pair stays as it is."""
    return (value, value) if isinstance(value, int) else tuple(value)


class DepthwiseConv(torch.autograd.Function):
    """Depthwise convolution of image [B,C,H,W] with weight [C,1,k,l]: [B,C,h,w]."""

    @staticmethod
    def forward(ctx, image, weight, stride: int, padding: tuple[int, int]):
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(image, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx, grad):
        image, weight = ctx.saved_tensors
        of_image = of_weight = None
        if ctx.needs_input_grad[0]:
            of_image = input_gradient(grad, weight, image.shape, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(image, grad, weight.shape, ctx.stride, ctx.padding)
        return of_image, of_weight, None, None


def input_gradient(grad, weight, shape: torch.Size, stride: int, padding: tuple[int, int]):
    """Gradient of the image [B,C,H,W] from the output's gradient [B,C,h,w] and the weight [C,1,k,l].

    The gradient's values are spread `stride` apart among zeros and convolved with the weight turned by 180 degrees.
    """
    kernel = weight.shape[2:]
    if stride > 1:
        reached = [n + 2 * p - k + 1 for n, p, k in zip(shape[2:], padding, kernel, strict=True)]
        layout = {"dtype": grad.dtype, "device": grad.device, "memory_format": torch.channels_last}
        spread = torch.empty((*shape[:2], *reached), **layout).zero_()
        spread[:, :, ::stride, ::stride] = grad
        grad = spread
    around = tuple(k - 1 - p for k, p in zip(kernel, padding, strict=True))
    return functional.conv2d(grad, weight.flip(2, 3), None, 1, around, groups=len(weight))


def weight_gradient(image, grad, shape: torch.Size, stride: int, padding: tuple[int, int]):
    """Gradient of the weight [C,1,k,l] from image [B,C,H,W] and the output's gradient [B,C,h,w].

    The gradient is the correlation of both: a depthwise convolution of B*C channels with h x w kernels, in which the
    stride becomes a dilation. It is summed over the batch in float32.
    """
    batch, channels, height, width = image.shape
    # Batch and channels are joined into one axis, which comes last in memory.
    planes = image.permute(2, 3, 0, 1).reshape(1, height, width, batch * channels).permute(0, 3, 1, 2)
    kernels = grad.reshape(batch * channels, 1, *grad.shape[2:])
    each = functional.conv2d(planes, kernels, None, 1, padding, stride, batch * channels)
    each = each[0, :, : shape[2], : shape[3]].view(batch, channels, 1, *shape[2:])
    return each.sum(0, dtype=torch.float32).to(grad.dtype)
