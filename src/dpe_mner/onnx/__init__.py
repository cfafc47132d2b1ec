"""Out of PyTorch: the whole predictor as one ONNX graph, and a runtime that needs onnxruntime and tokenizers only."""
