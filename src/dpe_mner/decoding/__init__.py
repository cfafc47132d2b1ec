"""From scored candidates to entities: one implementation for PyTorch, ONNX and the baselines. Needs no PyTorch."""
