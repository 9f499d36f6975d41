"""Makes the bundle `sounds` of what was trained and YAMNet: `python -m export.train.fused`."""

import argparse
import json
from pathlib import Path

from export.train.fused.release import release


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.train.fused", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite")
    parser.add_argument(
        "--network",
        type=Path,
        required=True,
        help="model.onnx of what export.train made, or of the bundle that ships",
    )
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--work", type=Path, default=Path("build/fused"), help="intermediate files")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    spec = release(options.yamnet, options.network, options.data, options.out, options.work)
    print(json.dumps({"metrics": spec.metrics, "parity": spec.parity}, indent=2))


if __name__ == "__main__":
    main()
