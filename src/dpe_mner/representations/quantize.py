"""Int8 weights for the text encoder: faster prediction on a CPU, for a measured cost in F1.

Weights are quantised by output channel, activations as they come. Seven bits of weight: without VNNI instructions
the eight-bit product accumulates in sixteen bits and saturates. Activations of a batch share their scale: with int8 a
post's answer may differ with its batch, which it never does otherwise.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from dpe_mner.errors import InputError
from dpe_mner.representations.text import TextEncoder


def quantize_int8(text_encoder: TextEncoder) -> None:
    """Replace the encoder's linear layers by int8 ones, in place. Its model can then predict, not train or be saved.

    Args:
        text_encoder: On the CPU.

    Raises:
        InputError: If it is elsewhere, or this build of PyTorch has no int8 kernels.
    """
    sample = next(text_encoder.encoder.parameters())
    if sample.device.type != "cpu":
        raise InputError(f"int8 works on the CPU; this model is on {sample.device}; leave out --device or --int8")
    if sample.dtype != torch.float32:
        raise InputError(f"int8 starts from float32 weights; this model has {sample.dtype}")
    try:
        from torch.ao.quantization import PerChannelMinMaxObserver, PlaceholderObserver, QConfig, quantize_dynamic
    except ImportError:
        raise InputError("int8: this release of PyTorch has no dynamic quantisation; leave out --int8") from None
    weight = PerChannelMinMaxObserver.with_args(
        dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-64, quant_max=63
    )
    activation = PlaceholderObserver.with_args(dtype=torch.quint8, is_dynamic=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch announces where its quantisation will move to
            quantize_dynamic(
                text_encoder.encoder, {nn.Linear: QConfig(activation, weight)}, dtype=torch.qint8, inplace=True
            )
    except RuntimeError as error:
        raise InputError(f"int8: not usable here ({str(error).splitlines()[0]}); leave out --int8") from None
