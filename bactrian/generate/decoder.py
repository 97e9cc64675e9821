"""A decoding step with few, large operations, from the weights of a transformers decoder.

transformers' own modules take some forty operations a layer; for a few rows their fixed costs are most of the time.
Here query, key and value are one product, gate and up are one, the residual is added within the product that makes it,
the weights lie as the processor's matrix product wants them, and the rest are kernels of our own (decode.c).

It is built by the names that decoders of this family share (Llama, Qwen2, Qwen3, OLMo 2, Gemma 3 and their like), and
trusted only after its states on a probe equalled the model's own: what it does not know, it does not serve.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from bactrian.generate.decode_kernels import Kernels, kernels, run_of, tokens_of
from bactrian.model.adapters import low_rank
from bactrian.model.fused import Operation, epsilon_of, gate_kind, offset_of
from bactrian.model.language_model import LanguageModel
from bactrian.model.packed_attention import PackedAttention
from bactrian.model.packing import Forest, Segment

ATTENTION = {"self_attn", "mlp"}
NORMS = {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"}
STATIC = {"default", "linear", "llama3", "yarn"}  # rotations that do not change as a sequence grows
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2}  # of states on the probe, relative to their norm


class Unknown(Exception):
    """Something in the model that this decoder does not know; the message says what."""


@dataclass
class _Layer:
    """A layer's operations; a norm that the architecture lacks is None."""

    qkv: Product
    out: Product
    gate_up: Product
    down: Product
    gated: Operation
    norm_in: Operation | None
    norm_attended: Operation | None
    norm_mlp: Operation | None
    norm_mlp_out: Operation | None
    q_norm: Operation | None
    k_norm: Operation | None
    scale: float
    window: int
    rotation: str  # which rotary table


class Decoder:
    """The model's next hidden states and logits, for tokens whose earlier keys and values are cached."""

    def __init__(self, model: LanguageModel, kernel: Kernels):
        """
        Raises:
            Unknown: the model is not of the family.
        """
        if model.device.type != "cpu":
            raise Unknown(f"device {model.device}")
        self.model, self.kernel = model, kernel
        self.base: Any = model.network.base_model
        config = model.network.config
        attention = self.base.layers[0].self_attn
        dim = int(attention.head_dim)
        self.heads = (attention.q_proj.out_features // dim, attention.k_proj.out_features // dim, dim)
        self.kinds = _rotation_kinds(self.base, config)
        self.tables: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        recorder = _Recorder(Forest.of([Segment((1, 2))]))
        with torch.inference_mode():
            model.hidden(recorder.forest.ids[None], recorder.forest.positions[None], recorder)
        self.asked = recorder.asked  # scale and window of each layer
        self.layers: list[_Layer] = []
        self.head: Product | None = None

    @classmethod
    def of(cls, model: LanguageModel) -> Decoder | None:
        """A decoder for this model that was seen to do what the model does, or None."""
        kernel = kernels()
        if kernel is None:
            return None
        try:
            decoder = cls(model, kernel)
            with torch.inference_mode(), decoder:
                decoder.check()
        except (Unknown, AttributeError, TypeError, KeyError, RuntimeError):
            return None
        return decoder

    def __enter__(self) -> Decoder:
        """Take the weights as they are now: laid out anew, fused, a copy that lives until the block is left."""
        self.layers = [self._layer(index) for index in range(len(self.base.layers))]
        self.norm = _norm(self.base.norm, self.kernel)
        self.head = Product(self.model.head)
        return self

    def __exit__(self, *_: object) -> None:
        self.layers, self.head = [], None

    def _layer(self, index: int) -> _Layer:
        block = self.base.layers[index]
        attention, mlp = block.self_attn, block.mlp
        names = {name for name, _ in block.named_children()}
        if not names <= ATTENTION | NORMS:
            raise Unknown(f"layers with {sorted(names - ATTENTION - NORMS)}")
        known = {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"}
        if not {name for name, _ in attention.named_children()} <= known:
            raise Unknown("attention with more than projections and norms")
        q, kv, dim = self.heads
        norm = {name: _norm(getattr(block, name), self.kernel) if name in names else None for name in NORMS}
        # a norm before the MLP's own makes the one after attention act on attention's output [Gemma]; likewise where
        # there is none before attention [OLMo 2]
        after = "pre_feedforward_layernorm" in names or "input_layernorm" not in names
        scale, window = self.asked[index]
        return _Layer(
            qkv=Product(attention.q_proj, attention.k_proj, attention.v_proj),
            out=Product(attention.o_proj),
            gate_up=Product(mlp.gate_proj, mlp.up_proj),
            down=Product(mlp.down_proj),
            gated=_gated(mlp.act_fn, self.kernel),
            norm_in=norm["input_layernorm"],
            norm_attended=norm["post_attention_layernorm"] if after else None,
            norm_mlp=norm["pre_feedforward_layernorm"] if after else norm["post_attention_layernorm"],
            norm_mlp_out=norm["post_feedforward_layernorm"],
            q_norm=_head_norm(getattr(attention, "q_norm", None), q, dim, self.kernel),
            k_norm=_head_norm(getattr(attention, "k_norm", None), kv, dim, self.kernel),
            scale=scale,
            window=window or 0,
            rotation=self.kinds[index],
        )

    def reserve(self, capacity: int) -> None:
        """Make rotary tables for positions below `capacity`."""
        if self.tables and next(iter(self.tables.values()))[0].shape[0] >= capacity:
            return
        positions = torch.arange(capacity)[None]
        like = torch.empty(1, dtype=self.model.dtype)
        for kind in dict.fromkeys(self.kinds):
            cos, sin = self.base.rotary_emb(like, positions, *([kind] if kind else []))
            if cos.shape[-1] != self.heads[2]:
                raise Unknown("rotation of a part of each head")
            self.tables[kind] = (cos[0].float(), sin[0].float())

    def states(
        self, ids: torch.Tensor, positions: torch.Tensor, tokens: torch.Tensor, runs: torch.Tensor
    ) -> torch.Tensor:
        """Last hidden states of tokens, whose keys and values are written into the cache.

        Args:
            ids, positions: long [N].
            tokens, runs: see `Kernels.attend`.

        Returns:
            [N, d], after the final norm.
        """
        x = self.base.embed_tokens(ids)
        rotations = {kind: (cos[positions], sin[positions]) for kind, (cos, sin) in self.tables.items()}
        heads, kv_heads, dim = self.heads
        attended = x.new_empty(len(ids), heads * dim)
        for number, layer in enumerate(self.layers):
            qkv = layer.qkv(layer.norm_in(x) if layer.norm_in else x)
            if layer.q_norm:
                qkv[:, : heads * dim] = layer.q_norm(qkv[:, : heads * dim])
            if layer.k_norm:
                keys = slice(heads * dim, (heads + kv_heads) * dim)
                qkv[:, keys] = layer.k_norm(qkv[:, keys])
            self.kernel.attend(
                qkv,
                rotations[layer.rotation],
                tokens,
                runs,
                attended,
                heads=self.heads,
                layer=number,
                scale=layer.scale,
                window=layer.window,
            )
            x = x + layer.norm_attended(layer.out(attended)) if layer.norm_attended else layer.out.add(attended, x)
            inner = layer.gated(layer.gate_up(layer.norm_mlp(x) if layer.norm_mlp else x))
            x = x + layer.norm_mlp_out(layer.down(inner)) if layer.norm_mlp_out else layer.down.add(inner, x)
        return self.norm(x)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """[N, d] → [N, V], of the weights' dtype, capped where the model caps."""
        assert self.head is not None
        logits = self.head(states)
        cap = self.model.softcap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def check(self) -> None:
        """Compare with the model's own states, token by token on a probe of a dozen.

        Raises:
            Unknown: they differ.
        """
        size = self.model.head.shape[0]
        ids = torch.tensor([(7 * i + 3) % (size - 1) + 1 for i in range(12)])
        forest = Forest.of([Segment(tuple(ids.tolist()))])
        truth = self.model.forward(forest).float()
        _, kv_heads, dim = self.heads
        cache = torch.zeros(len(self.layers), 2, kv_heads, len(ids), dim, dtype=self.model.dtype)
        self.reserve(len(ids))
        found = []
        for at in range(len(ids)):
            where = torch.tensor([at])
            token = tokens_of(torch.tensor([0]), torch.tensor([1]), where + 1)
            found.append(self.states(ids[where], where, token, torch.tensor([run_of(cache, 0, at + 1)])))
        gap = float((torch.cat(found).float() - truth).norm() / truth.norm())
        if not gap <= TOLERANCE[self.model.dtype]:
            raise Unknown(f"states that differ by {gap:.2g}")


class Product:
    """x W^T + b for one or more linear layers on the same input, with W laid out for the processor's matrix product.

    Adapters of the layers stay what they are, two slim products: added to W in bfloat16 their small values round
    otherwise than where they are trained (at a change of 0.25 % of x W^T the result was 20 times as far from that).
    """

    def __init__(self, *parts: Any):
        """
        Raises:
            Unknown: a part that is no plain linear layer (a quantised one, say).
        """
        adapted = [low_rank(part) for part in parts]
        parts = tuple(found[0] if found else part for found, part in zip(adapted, parts, strict=True))
        self.beside = _beside(parts, adapted) if any(adapted) else None
        if not all(isinstance(p, torch.Tensor) or type(p) is torch.nn.Linear for p in parts):
            raise Unknown(f"a linear layer of type {type(parts[0]).__name__}")
        weights = [p if isinstance(p, torch.Tensor) else p.weight for p in parts]
        biases = [p.bias for p in parts if isinstance(p, torch.nn.Linear) and p.bias is not None]
        if biases and len(biases) < len(parts):
            raise Unknown("biases on some of query, key and value")
        weight = torch.cat([w.detach() for w in weights]) if len(weights) > 1 else weights[0].detach()
        self.bias = torch.cat([b.detach() for b in biases]) if biases else None
        self.packed = _can_pack(weight.dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, 32) if self.packed else weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.packed:
            out = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        else:
            out = linear(x, self.weight, self.bias)
        return self._with_adapters(x, out)

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """residual + x W^T + b, rounded once."""
        if self.packed:
            out = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")
        else:
            out = residual + linear(x, self.weight, self.bias)
        return self._with_adapters(x, out)

    def _with_adapters(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        if self.beside is None:
            return out
        down, up = self.beside
        return up.add(down(x), out)


def _can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN lays out matrices of this type here: bfloat16 it does not on processors with AVX2 alone."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _beside(parts: Sequence[Any], adapted: Sequence[Any]) -> tuple[Product, Product]:
    """The adapters of several layers on one input as two products: all A above each other, all B on a diagonal."""
    found = [each for each in adapted if each is not None]
    down = torch.cat([a for _, a, _ in found])
    up = down.new_zeros(sum(part.out_features for part in parts), len(down))
    row = column = 0
    for part, each in zip(parts, adapted, strict=True):
        if each is not None:
            b = each[2]
            up[row : row + b.shape[0], column : column + b.shape[1]] = b
            column += b.shape[1]
        row += part.out_features
    return Product(down), Product(up)


class _Recorder(PackedAttention):
    """Packed attention that notes the scale and the window that each layer asks for."""

    def __init__(self, forest: Forest):
        super().__init__(forest)
        self.asked: list[tuple[float, int | None]] = []

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        self.asked.append((scale, window))
        return super().attend(layer, q, k, v, scale, window)


def _rotation_kinds(base: Any, config: Any) -> list[str]:
    """Which rotary table each layer takes: its layer type, where the model's rotations differ by it, else ""."""
    kind = base.rotary_emb.rope_type
    if not {*kind.values()} <= STATIC if isinstance(kind, dict) else kind not in STATIC:
        raise Unknown(f"rotation {kind}")
    if "layer_type" in inspect.signature(base.rotary_emb.forward).parameters:
        return list(config.layer_types)
    return [""] * len(base.layers)


def _norm(module: Any, kernel: Kernels) -> Operation:
    """The norm as one operation, where it is x / rms(x) times its weight, or times 1 + its weight; else as it is."""
    offset, epsilon = offset_of(module), epsilon_of(module)
    if offset is not None and epsilon is not None:
        factor = module.weight.detach().float() + offset
        return lambda x: kernel.norm(x, factor, epsilon)
    operation: Operation = module
    return operation


def _head_norm(module: Any, heads: int, dim: int, kernel: Kernels) -> Operation | None:
    """A norm of queries or keys [N, heads x dim]: over each head [Qwen3, Gemma 3], or over all at once [OLMo 2]."""
    if module is None:
        return None
    norm = _norm(module, kernel)
    if module.weight.numel() == heads * dim and heads > 1:
        return norm
    return lambda x: norm(x.reshape(-1, dim)).view(len(x), -1)


def _gated(act: Operation, kernel: Kernels) -> Operation:
    """act(gate) times up, [N, 2 F] → [N, F]: one operation for silu and gelu (tanh), told on a probe."""
    kind = gate_kind(act)
    if kind is not None:
        return lambda x: kernel.gate(x, kind)

    def plain(x: torch.Tensor) -> torch.Tensor:
        gate, up = x.chunk(2, dim=-1)
        return act(gate).mul_(up)

    return plain
