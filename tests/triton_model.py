"""A model of Triton's Python backend that has ONNX Runtime compute `model.onnx` beside it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    """What the backend looks for."""

    def initialize(self, arguments: dict[str, str]) -> None:
        config = json.loads(arguments["model_config"])
        self.input: str = config["input"][0]["name"]
        self.outputs: list[str] = [output["name"] for output in config["output"]]
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(
            Path(arguments["model_repository"], arguments["model_version"], "model.onnx"),
            options,
            providers=["CPUExecutionProvider"],
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Compute what Triton has gathered in one batch."""
        batches = [triton.get_input_tensor_by_name(r, self.input).as_numpy() for r in requests]
        answers = self.session.run(self.outputs, {self.input: np.concatenate(batches)})
        edges = np.cumsum([len(batch) for batch in batches])[:-1]
        parts = [np.split(answer, edges) for answer in answers]
        return [
            triton.InferenceResponse(
                [triton.Tensor(*pair) for pair in zip(self.outputs, part, strict=True)]
            )
            for part in zip(*parts, strict=True)
        ]
