"""Attention as one node of the graph.

Accelerators have kernels for it that never write the table of all pairs of tokens to memory. What
PyTorch's exporter writes of one layer (products, a scale, a mask, a softmax), onnxscript's
fusions for ONNX Runtime recognise. Two things stand in their way and are dealt with here first:
masks that hide nothing, and WavLM's attention, whose tokens come before its batch.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.ort_fusions import optimize_for_ort
from onnxscript.rewriter.pattern import ANY_VALUE, MatchResult, RewriteRuleClassBase, Var

FUSED = ("Attention", "MultiHeadAttention")
"""Operators, ONNX Runtime's own (domain com.microsoft)."""

_UNFUSED = {"sew-d"}
"""Model types with disentangled attention: its pairs depend on more than a product and a bias."""
_UNLIMITED = 1 << 31


def attention_layers(config: Any) -> int:  # noqa: ANN401 (transformers is untyped)
    """How many fused nodes the graph of an encoder with this configuration must come to have."""
    inner = getattr(config, "encoder_config", config)
    return 0 if config.model_type in _UNFUSED else int(inner.num_hidden_layers)


def drop_idle_masks(model: ir.Model) -> int:
    """Take out masks that hide nothing, and return from how many layers.

    Every layer would add such a mask of zeros to a table of (batch, heads, tokens, tokens).
    """
    dropped = 0
    for node in list(model.graph):
        if node.op_type != "Add":
            continue
        left, right = node.inputs
        for scores, mask in ((left, right), (right, left)):
            # A sum that the mask has widened cannot do without it.
            if scores is None or scores.shape is None or scores.shape != node.outputs[0].shape:
                continue
            if _hides_nothing(mask):
                ir.convenience.replace_all_uses_with(node.outputs[0], scores)
                dropped += 1
                break
    RemoveUnusedNodesPass()(model)
    return dropped


def fuse_attention(model: ir.Model) -> int:
    """Fuse what can be fused, in place: attention first of all. Return how many attention nodes."""
    with _quietly():
        # Tables of positions become constants: half precision would change what they index. What
        # they look up does not, as it is far larger than where it comes from.
        fold_constants(
            model,
            input_size_limit=_UNLIMITED,
            output_size_limit=_UNLIMITED,
            should_fold=lambda node: False if node.op_type == "Gather" else None,
        )
        rewrite(model, [_TokensFirst.rule()])  # type: ignore[no-untyped-call]
        optimize_for_ort(model)
    return count_fused(model)


def count_fused(model: ir.Model) -> int:
    """How many nodes of attention the graph has."""
    return sum(node.op_type in FUSED and node.domain == "com.microsoft" for node in model.graph)


def _hides_nothing(mask: ir.Value | None) -> bool:
    """Whether this is `where(seen, 0, lowest)` with everything seen."""
    where = None if mask is None else mask.producer()
    if where is None or where.op_type != "Where":
        return False
    seen, added, _ = where.inputs
    while seen is not None and (node := seen.producer()) is not None:
        if node.op_type not in {"Expand", "Unsqueeze", "Reshape"}:
            return False
        seen = node.inputs[0]
    return _constant_is(seen, everywhere=1) and _constant_is(added, everywhere=0)


def _constant_is(value: ir.Value | None, everywhere: int) -> bool:
    tensor = None if value is None else value.const_value
    return tensor is not None and bool(np.all(tensor.numpy() == everywhere))


_PARTS = ("query", "key", "value")


class _TokensFirst(RewriteRuleClassBase):
    """`torch.nn.functional.multi_head_attention_forward` with a bias, as WavLM calls it.

    Its hidden states are (tokens, batch, dim), its tables (batch * heads, tokens, tokens).
    """

    def pattern(self, op: Any, hidden: Any, scale: Any, bias: Any) -> Any:  # noqa: ANN401
        tokens = op.Transpose(hidden, perm=[1, 0, 2])
        query, key, value = (
            op.Reshape(
                op.Add(op.MatMul(tokens, Var(f"weight_{x}")), Var(f"bias_{x}")),
                ANY_VALUE,
                _outputs=[x],
            )
            for x in _PARTS
        )
        queries = op.Mul(op.Transpose(query, perm=[1, 0, 2]), scale)
        pairs = op.Add(op.MatMul(queries, op.Transpose(key, perm=[1, 2, 0])), bias)
        values = op.Transpose(value, perm=[1, 0, 2])
        return op.Transpose(op.MatMul(op.Softmax(pairs, axis=-1), values), perm=[1, 0, 2])

    def check(self, op: Any, *_: Any, **found: Any) -> MatchResult:  # noqa: ANN401, ARG002
        result = MatchResult()
        scale = found["scale"].const_value
        shapes = [found[name].shape or () for name in ("hidden", "query")]
        sizes = [size for shape in shapes for size in list(shape)[1:]]
        if scale is None or scale.size != 1 or len(sizes) != 4:  # noqa: PLR2004
            return result.fail("no scale, or hidden states of unknown rank")
        tokens, dim, _, head = sizes
        if not all(isinstance(size, int) for size in (tokens, dim, head)):
            return result.fail("the number of tokens or of heads varies")
        self._tokens, self._heads, self._head = tokens, dim // head, head
        self._scale = float(scale.numpy().item())
        return result

    def rewrite(self, op: Any, hidden: Any, bias: Any, **found: Any) -> Any:  # noqa: ANN401
        parts = [
            op.Add(op.MatMul(hidden, found[f"weight_{x}"]), found[f"bias_{x}"]) for x in _PARTS
        ]
        pairs = op.Constant(value_ints=[-1, self._heads, self._tokens, self._tokens])
        heads = op.Constant(value_ints=[self._tokens, -1, self._head])
        result = op.MultiHeadAttention(
            *parts,
            None,
            None,
            op.Reshape(bias, pairs),
            num_heads=self._heads,
            scale=self._scale,
            _domain="com.microsoft",
        )
        return op.Reshape(op.Transpose(result, perm=[1, 0, 2]), heads)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the optimiser has to say of its own insides from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with np.errstate(all="ignore"):  # the logarithm of distance 0, which nothing looks at
            yield
    finally:
        logging.disable(before)
