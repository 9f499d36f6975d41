"""What came out of a fit, in a few lines for the person who made it."""

from pathlib import Path

from detector.records import SAMPLE_RATE
from detector.spec import BundleSpec

_FEW = 5
"""With fewer windows of a label held out, its accuracy is little more than an anecdote."""


def summary(out: Path, spec: BundleSpec) -> str:
    """What was made, and how good it is."""
    metrics = spec.metrics
    fit, held_out = metrics["fit"], metrics["held_out"]
    window, hop = spec.window.samples / SAMPLE_RATE, spec.window.hop_samples / SAMPLE_RATE
    thresholds = {label.slug: label.onset_threshold for label in spec.labels}
    lines = [
        f"{out}: {spec.id}, a new layer on {spec.source.checkpoint}",
        f"  windows of {window:g} s, every {hop:g} s; {spec.decoding}",
        f"  fitted to {fit['windows']} windows; the best epoch was {fit['best_epoch']}",
        "  on recordings that were held out:",
    ]
    width = max(map(len, held_out["labels"]))
    for name, found in held_out["labels"].items():
        if not found["windows"]:
            continue
        others = {k: n for k, n in held_out["confusion"][name].items() if k != name}
        taken = ", ".join(f"{other} {n}" for other, n in others.items())
        threshold = f"  threshold {thresholds[name]:.2f}" if name in thresholds else ""
        lines.append(
            f"    {name:<{width}}  {found['right']}/{found['windows']} right{threshold}"
            + (f"  taken for: {taken}" if taken else "")
        )
    for name, found in held_out.get("frames", {}).items():
        precision, recall = (
            "-" if found[what] is None else f"{100 * found[what]:.0f} %"
            for what in ("precision", "recall")
        )
        lines.append(f"    {name:<{width}}  frames: precision {precision}, recall {recall}")
    if any(0 < found["windows"] < _FEW for found in held_out["labels"].values()):
        lines.append("  so few windows say little; more recordings would say, and help, more")
    return "\n".join(lines)
