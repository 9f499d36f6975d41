"""ONNX graphs: exported, fused, made smaller."""
