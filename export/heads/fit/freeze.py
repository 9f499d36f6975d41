"""Which part of an encoder is fitted."""

from torch import nn

from detector.errors import ConfigError


def unfreeze(encoder: nn.Module, frozen: int) -> None:
    """Let all that comes after the first `frozen` transformer layers be fitted, and nothing else.

    What comes before the layers (convolutions, embeddings) stays frozen.

    Raises:
        ConfigError: there are fewer layers.
    """
    name, layers = _stack(encoder)
    if not 0 <= frozen <= len(layers):
        raise ConfigError(
            f"--freeze {frozen}: the encoder has {len(layers)} layers; give 0 to {len(layers)}, or "
            "'all' to fit the new layer alone"
        )
    kept = {id(p) for layer in layers[:frozen] for p in layer.parameters()}
    reached = False
    for own, parameter in encoder.named_parameters():
        reached = reached or own.startswith(f"{name}.")
        parameter.requires_grad_(reached and id(parameter) not in kept)


def _stack(encoder: nn.Module) -> tuple[str, nn.ModuleList]:
    """The transformer layers: of all lists of modules, that with the most weights."""
    lists = [(name, m) for name, m in encoder.named_modules() if isinstance(m, nn.ModuleList)]
    if not lists:
        raise ConfigError("--freeze: the encoder has no list of layers; give 'all'")
    return max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))
