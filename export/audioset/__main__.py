"""Makes the bundle `audioset` of YAMNet.

    python -m export.audioset --tflite yamnet.tflite --data DIR --out detector/models/audioset

Takes some minutes; the same inputs give the same bundle but for its date. Needs the extra
`yamnet`.
"""

import argparse
from pathlib import Path

from export.audioset.release import release


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.audioset", description=__doc__)
    parser.add_argument("--tflite", type=Path, required=True, help="Google's yamnet.tflite")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder; replaced")
    options = parser.parse_args()
    spec = release(options.tflite, options.data, options.out)
    enabled = [label for label in spec.labels if label.enabled]
    print(f"{spec.id}: {len(spec.labels)} labels, parity {spec.parity}")  # noqa: T201
    for label in enabled:
        print(f"{label.slug} {label.onset_threshold}")  # noqa: T201


if __name__ == "__main__":
    main()
