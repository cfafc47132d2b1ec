"""Int8 weights for the text encoder: faster prediction on a CPU, for a measured cost in F1.

Weights are quantised by output channel, activations as they come. Seven bits of weight: without VNNI instructions
the eight-bit product accumulates in sixteen bits and saturates. Activations of a batch share their scale: with int8 a
post's answer may differ with its company, which it never does otherwise.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from dpe_mner.errors import InputError
from dpe_mner.model import DPEMNERModel


def quantize_int8(model: DPEMNERModel) -> DPEMNERModel:
    """Replace the encoder's linear layers by int8 ones, in place. The model can then predict, not train or be saved.

    Args:
        model: On the CPU.

    Raises:
        InputError: If the model is elsewhere, or this build of PyTorch has no int8 kernels.
    """
    if model.device.type != "cpu":
        raise InputError(f"int8 works on the CPU; this model is on {model.device}; leave out --device or --int8")
    if model.dtype != torch.float32:
        raise InputError(f"int8 starts from float32 weights; this model has {model.dtype}")
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
                model.text_encoder.encoder, {nn.Linear: QConfig(activation, weight)}, dtype=torch.qint8, inplace=True
            )
    except RuntimeError as error:
        raise InputError(f"int8: not usable here ({str(error).splitlines()[0]}); leave out --int8") from None
    return model.eval()
