"""DepthwiseConv2d: a convolution of each feature map on its own, with a gradient that is fast in bf16 on a processor.

oneDNN computes a depthwise convolution quickly forwards, but its bf16 gradients of 5 x 5 and of strided kernels are
10 to 40 times slower than they need be (EfficientNet-Lite0, batch 16 at 192 x 192, one core: 890 of 1,540 ms a step).
Here each gradient takes the way that was measured to be fastest; the values are the same up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DepthwiseConv2d", "SameConv2d"]


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding for even sizes: at stride 2 the far end gets one row more.

    Args:
        in_features: Feature maps of the image.
        out_features: Feature maps of the result.
        kernel: Edge of the kernel.
        stride: 1 or 2.
        groups: Groups of feature maps that are convolved apart.
    """

    def __init__(self, in_features: int, out_features: int, *, kernel: int, stride: int = 1, groups: int = 1) -> None:
        near = (kernel - stride) // 2
        super().__init__(in_features, out_features, kernel, stride, padding=near, groups=groups, bias=False)
        self.far = kernel - stride - 2 * near

    def convolve(self, image: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve with a weight and an offset that stand in for the layer's own."""
        if self.far:
            image = functional.pad(image, (0, self.far, 0, self.far))
        out: Tensor = self._conv_forward(image, weight, bias)
        return out

    def forward(self, image: Tensor) -> Tensor:
        """Return the convolved image, shape (batch, feature, x, y)."""
        return self.convolve(image, weight=self.weight, bias=None)


class DepthwiseConv2d(SameConv2d):
    """Convolution of each feature map on its own, padded as :class:`SameConv2d`.

    Args:
        features: Feature maps.
        kernel: Edge of the kernel.
        stride: 1 or 2.
    """

    def __init__(self, features: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__(features, features, kernel=kernel, stride=stride, groups=features)

    def convolve(self, image: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve with a weight and an offset that stand in for the layer's own."""
        slow = image.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
        if not slow or torch.get_autocast_dtype("cpu") != torch.bfloat16:
            return super().convolve(image, weight=weight, bias=bias)
        image = image.to(torch.bfloat16)
        if self.far:
            image = functional.pad(image, (0, self.far, 0, self.far))
        apply: Any = _Depthwise.apply
        out: Tensor = apply(image, weight, bias, self.stride[0], self.padding[0])
        return out


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution in bf16, each gradient in the type and by the kernel that is fastest."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding, ctx.has_bias = stride, padding, bias is not None
        small = None if bias is None else bias.to(image.dtype)
        return functional.conv2d(image, weight.to(image.dtype), small, stride, padding, groups=image.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None]:
        image, weight = ctx.saved_tensors
        to_image = None
        if ctx.needs_input_grad[0]:
            to_image = _gradient_of_image(gradient, image, weight, stride=ctx.stride, padding=ctx.padding)
        to_weight = _gradient_of_weight(gradient, image, weight, stride=ctx.stride, padding=ctx.padding)
        to_bias = gradient.sum(dim=(0, 2, 3), dtype=torch.float32) if ctx.has_bias else None
        return to_image, to_weight, to_bias, None, None


def _gradient_of_image(gradient: Tensor, image: Tensor, weight: Tensor, *, stride: int, padding: int) -> Tensor:
    features, kernel = weight.shape[0], weight.shape[-1]
    if stride == 1:
        # The gradient is a convolution with the mirrored kernel, and forwards bf16 is fast.
        mirrored = weight.flip(2, 3).to(gradient.dtype)
        return functional.conv2d(gradient, mirrored, None, 1, kernel // 2, groups=features)
    shape_only = torch.empty_like(image, dtype=torch.float32)
    wide: Tensor = torch.ops.aten.convolution_backward(
        gradient.float(), shape_only, weight.float(), None, *_form(stride, padding, features), [True, False, False]
    )[0]
    return wide.to(image.dtype)


def _gradient_of_weight(gradient: Tensor, image: Tensor, weight: Tensor, *, stride: int, padding: int) -> Tensor:
    features, kernel = weight.shape[0], weight.shape[-1]
    if kernel <= 3:
        return _small_gradient_of_weight(
            gradient, image, weight.to(image.dtype), stride=stride, padding=padding
        ).float()
    # Kernels of 3 x 3 have a fast way, larger ones have not: four overlapping ones cover 5 x 5.
    image = functional.pad(image, (padding,) * 4)
    extent = [stride * (size - 1) + 3 for size in gradient.shape[2:]]
    out = torch.empty_like(weight, dtype=torch.float32)
    small = torch.empty(features, 1, 3, 3, dtype=image.dtype)
    for x in (0, kernel - 3):
        for y in (0, kernel - 3):
            window = image[:, :, x : x + extent[0], y : y + extent[1]].contiguous(memory_format=torch.channels_last)
            part = _small_gradient_of_weight(gradient, window, small, stride=stride, padding=0)
            out[:, :, x : x + 3, y : y + 3] = part
    return out


def _small_gradient_of_weight(gradient: Tensor, image: Tensor, weight: Tensor, *, stride: int, padding: int) -> Tensor:
    result: Tensor = torch.ops.aten.convolution_backward(
        gradient, image, weight, None, *_form(stride, padding, weight.shape[0]), [False, True, False]
    )[1]
    return result


def _form(stride: int, padding: int, groups: int) -> tuple[list[int], list[int], list[int], bool, list[int], int]:
    """Return stride, padding, dilation, transposed, output padding and groups, as torch's operator takes them."""
    return [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups
