"""Predict with an exported model where PyTorch is not installed.

dpe-mner export --format onnx --output exported          # once, where PyTorch is

pip install --no-deps dpe-mner                           # then, anywhere
pip install numpy onnxruntime pydantic regex tokenizers
python examples/onnx_without_pytorch.py exported "Kevin Durant enters Oracle Arena"
"""

from __future__ import annotations

import sys
import time

from dpe_mner.onnx.runtime import OnnxModel


def main() -> None:
    """Load, predict, print."""
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} EXPORTED TEXT [CAPTION]")
    started = time.perf_counter()
    model = OnnxModel(sys.argv[1])
    caption = sys.argv[3] if len(sys.argv) > 3 else None
    entities = model.predict(sys.argv[2], caption=caption)
    seconds = time.perf_counter() - started
    for entity in entities:
        sys.stdout.write(f"{entity.label:5} {entity.score:.2f} {entity.text}\n")
    installed = "torch" in sys.modules
    sys.stdout.write(f"loaded and answered in {seconds:.2f} s, PyTorch {'was' if installed else 'was not'} imported\n")


if __name__ == "__main__":
    main()
