"""A decoding step with few, large operations, from the weights of a transformers decoder.

transformers' own modules take some forty operations a layer; for a few rows their fixed costs are most of the time.
Here query, key and value are one product, gate and up are one, the residual is added within the product that makes it,
the weights lie as the processor's matrix product wants them, and the rest are kernels of our own (decode.c).

It is built by the names that decoders of this family share (Llama, Qwen2, Qwen3, OLMo 2, Gemma 3 and their like). For
an architecture with other names a package adds a subclass (entry points `bactrian.architectures`). Either is trusted
only after its states on a probe equalled the model's own; any other model is left to transformers' forward.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch.nn.functional import linear

from bactrian.generate.decode_kernels import Kernels, kernels, run_of, tokens_of
from bactrian.model.adapters import low_rank
from bactrian.model.fused import Operation, epsilon_of, gate_kind, offset_of
from bactrian.model.language_model import LanguageModel
from bactrian.model.packed_attention import PackedAttention
from bactrian.model.packing import Forest, Segment
from bactrian.progress import say
from bactrian.store.plugins import Plugins

ATTENTION = {"self_attn", "mlp"}
NORMS = {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"}
STATIC = {"default", "linear", "llama3", "yarn"}  # rotations that do not change as a sequence grows
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2}  # of states on the probe, relative to their norm


class UnsupportedModel(Exception):
    """The model has something that the fast decoder cannot do; the message says what."""


@dataclass
class LayerOperations:
    """What a layer does to its input x [N, d]; a norm that the architecture lacks is None.

    x + norm_attended(out(attention(qkv(norm_in(x))))), with `q_norm` and `k_norm` on queries and keys; then
    x + norm_mlp_out(down(gated(gate_up(norm_mlp(x))))).
    """

    qkv: FusedLinear  # queries, keys and values, in this order
    out: FusedLinear
    gate_up: FusedLinear  # gate first
    down: FusedLinear
    gated: Operation  # [N, 2 F] → [N, F]
    norm_in: Operation | None = None
    norm_attended: Operation | None = None
    norm_mlp: Operation | None = None
    norm_mlp_out: Operation | None = None
    q_norm: Operation | None = None
    k_norm: Operation | None = None


class FastDecoder:
    """The model's next hidden states and logits, for tokens whose earlier keys and values are cached.

    A subclass for another architecture gives `head_shape` and `layer`.
    """

    def __init__(self, model: LanguageModel, kernel: Kernels):
        """
        Raises:
            UnsupportedModel: the model is not of the family.
        """
        self.model, self.kernel = model, kernel
        self.base: Any = model.network.base_model
        self.embed, self.blocks = part(self.base, "embed_tokens"), part(self.base, "layers")
        self.heads = self.head_shape()
        self.kinds = _rotation_kinds(part(self.base, "rotary_emb"), model.network.config, len(self.blocks))
        self.tables: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        recorder = _Recorder(Forest.of([Segment((1, 2))]))
        with torch.inference_mode():
            model.hidden(recorder.forest.ids[None], recorder.forest.positions[None], recorder)
        self.scales = recorder.scales
        self.windows = recorder.windows
        self.layers: list[LayerOperations] = []
        self.head: FusedLinear | None = None

    @classmethod
    def of(cls, model: LanguageModel) -> FastDecoder | None:
        """A decoder for this model whose states were checked against the model's own.

        None where there is none: on a GPU, without a C compiler, or, with a line that says why, for a model that it
        does not serve.

        Raises:
            BactrianError: a package's subclass for this architecture cannot be loaded.
        """
        kernel = kernels()
        if kernel is None or model.device.type != "cpu":
            return None
        architecture = str(model.network.config.model_type)
        try:
            if model.network.dtype not in TOLERANCE:
                raise UnsupportedModel(f"its weights are {model.network.dtype}")
            decoder = (PLUGINS.use(architecture) if architecture in PLUGINS.names() else cls)(model, kernel)
            with torch.inference_mode(), decoder:
                decoder.check()
        except UnsupportedModel as reason:
            _say_once(f"{architecture}: no fast decoder; transformers' forward samples instead, more slowly: {reason}")
            return None
        return decoder

    def head_shape(self) -> tuple[int, int, int]:
        """Query heads, key and value heads, and the dimensions of each."""
        attention = part(self.blocks[0], "self_attn")
        dim = int(part(attention, "head_dim"))
        queries, keys = (int(part(attention, f"{name}.out_features")) for name in ("q_proj", "k_proj"))
        return queries // dim, keys // dim, dim

    def __enter__(self) -> FastDecoder:
        """Take the weights as they are now: laid out anew, fused, a copy that lives until the block is left."""
        self.layers = [self.layer(index) for index in range(len(self.blocks))]
        self.final_norm = self.norm(part(self.base, "norm"))
        self.head = FusedLinear(self.model.head)
        return self

    def __exit__(self, *_: object) -> None:
        self.layers, self.head = [], None

    def layer(self, index: int) -> LayerOperations:
        """The operations of a layer, by its number, from the weights as they are now.

        Raises:
            UnsupportedModel: the layer is not of the family.
        """
        block = self.blocks[index]
        attention, mlp = part(block, "self_attn"), part(block, "mlp")
        names = {name for name, _ in block.named_children()}
        if not names <= ATTENTION | NORMS:
            raise UnsupportedModel(f"layers with {sorted(names - ATTENTION - NORMS)}")
        known = {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"}
        if not {name for name, _ in attention.named_children()} <= known:
            raise UnsupportedModel("attention with more than projections and norms")
        q, kv, dim = self.heads
        if part(attention, "o_proj.in_features") != q * dim:
            raise UnsupportedModel("attention whose output is not as wide as its queries")
        norm = {name: self.norm(getattr(block, name)) if name in names else None for name in NORMS}
        # a norm before the MLP's own makes the one after attention act on attention's output [Gemma]; likewise where
        # there is none before attention [OLMo 2]
        after = "pre_feedforward_layernorm" in names or "input_layernorm" not in names
        return LayerOperations(
            qkv=FusedLinear(*(part(attention, name) for name in ("q_proj", "k_proj", "v_proj"))),
            out=FusedLinear(attention.o_proj),
            gate_up=FusedLinear(part(mlp, "gate_proj"), part(mlp, "up_proj")),
            down=FusedLinear(part(mlp, "down_proj")),
            gated=self.gated(part(mlp, "act_fn")),
            norm_in=norm["input_layernorm"],
            norm_attended=norm["post_attention_layernorm"] if after else None,
            norm_mlp=norm["pre_feedforward_layernorm"] if after else norm["post_attention_layernorm"],
            norm_mlp_out=norm["post_feedforward_layernorm"],
            q_norm=self._head_norm(getattr(attention, "q_norm", None), q),
            k_norm=self._head_norm(getattr(attention, "k_norm", None), kv),
        )

    def norm(self, module: Any) -> Operation:
        """A norm as one operation where it is x / rms(x) times its weight, or times 1 + its weight; else as it is."""
        offset, epsilon = offset_of(module), epsilon_of(module)
        if offset is not None and epsilon is not None:
            factor = module.weight.detach().float() + offset
            return lambda x: self.kernel.norm(x, factor, epsilon)
        operation: Operation = module
        return operation

    def gated(self, activation: Operation) -> Operation:
        """activation(gate) times up, [N, 2 F] → [N, F]: one operation for silu and gelu (tanh), found by a probe."""
        kind = gate_kind(activation)
        if kind is not None:
            return lambda x: self.kernel.gate(x, kind)

        def plain(x: torch.Tensor) -> torch.Tensor:
            gate, up = x.chunk(2, dim=-1)
            return activation(gate).mul_(up)

        return plain

    def _head_norm(self, module: Any, heads: int) -> Operation | None:
        """A norm of queries or keys [N, heads x dim]: over each head [Qwen3, Gemma 3], or over all at once [OLMo 2]."""
        if module is None:
            return None
        norm, dim = self.norm(module), self.heads[2]
        if module.weight.numel() == heads * dim and heads > 1:
            return norm
        return lambda x: norm(x.reshape(-1, dim)).view(len(x), -1)

    def reserve(self, capacity: int) -> None:
        """Make rotary tables for positions below `capacity`."""
        if self.tables and next(iter(self.tables.values()))[0].shape[0] >= capacity:
            return
        positions = torch.arange(capacity)[None]
        like = torch.empty(1, dtype=self.model.dtype)
        for kind in dict.fromkeys(self.kinds):
            cos, sin = self.base.rotary_emb(like, positions, *([kind] if kind else []))
            if cos.shape[-1] != self.heads[2]:
                raise UnsupportedModel("rotation of a part of each head")
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
        x = self.embed(ids)
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
                rotations[self.kinds[number]],
                tokens,
                runs,
                attended,
                heads=self.heads,
                layer=number,
                scale=self.scales[number],
                window=self.windows[number],
            )
            x = x + layer.norm_attended(layer.out(attended)) if layer.norm_attended else layer.out.add(attended, x)
            inner = layer.gated(layer.gate_up(layer.norm_mlp(x) if layer.norm_mlp else x))
            x = x + layer.norm_mlp_out(layer.down(inner)) if layer.norm_mlp_out else layer.down.add(inner, x)
        return self.final_norm(x)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """[N, d] → [N, V], of the weights' dtype, capped where the model caps."""
        assert self.head is not None
        logits = self.head(states)
        cap = self.model.softcap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def check(self) -> None:
        """Compare with the model's own states, token by token on a probe of a dozen.

        Raises:
            UnsupportedModel: they differ.
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
            raise UnsupportedModel(f"hidden states that differ from the model's own by {gap:.2g}, relatively")


def part(module: Any, name: str) -> Any:
    """What a module holds under a name, such as "o_proj.weight".

    Raises:
        UnsupportedModel: it has nothing of that name.
    """
    try:
        return attrgetter(name)(module)
    except AttributeError:
        raise UnsupportedModel(f"{type(module).__name__} has no {name}") from None


@functools.cache
def _say_once(message: str) -> None:
    say(message)


class FusedLinear:
    """x W^T + b for one or more linear layers on the same input, with W laid out for the processor's matrix product.

    Adapters of the layers stay what they are, two slim products: added to W in bfloat16 their small values round
    otherwise than where they are trained (at a change of 0.25 % of x W^T the result was 20 times as far from that).
    """

    def __init__(self, *parts: Any):
        """
        Raises:
            UnsupportedModel: a part that is no plain linear layer (a quantised one, say).
        """
        adapted = [low_rank(part) for part in parts]
        parts = tuple(found[0] if found else part for found, part in zip(adapted, parts, strict=True))
        self.beside = _beside(parts, adapted) if any(adapted) else None
        if not all(isinstance(p, torch.Tensor) or type(p) is torch.nn.Linear for p in parts):
            raise UnsupportedModel(f"a linear layer of type {type(parts[0]).__name__}")
        weights = [p if isinstance(p, torch.Tensor) else p.weight for p in parts]
        biases = [p.bias for p in parts if isinstance(p, torch.nn.Linear) and p.bias is not None]
        if biases and len(biases) < len(parts):
            raise UnsupportedModel("biases on some of query, key and value")
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


def _beside(parts: Sequence[Any], adapted: Sequence[Any]) -> tuple[FusedLinear, FusedLinear]:
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
    return FusedLinear(down), FusedLinear(up)


class _Recorder(PackedAttention):
    """Packed attention that notes the scale and the window that each layer asks for."""

    def __init__(self, forest: Forest):
        super().__init__(forest)
        self.scales: list[float] = []
        self.windows: list[int] = []  # 0: none

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        self.scales.append(scale)
        self.windows.append(window or 0)
        return super().attend(layer, q, k, v, scale, window)


def _rotation_kinds(rotary: Any, config: Any, layers: int) -> list[str]:
    """Which rotary table each layer takes: its layer type, where the model's rotations differ by it, else ""."""
    kind = part(rotary, "rope_type")
    if not {*kind.values()} <= STATIC if isinstance(kind, dict) else kind not in STATIC:
        raise UnsupportedModel(f"rotation {kind}")
    if "layer_type" in inspect.signature(rotary.forward).parameters:
        return list(config.layer_types)
    return [""] * layers


PLUGINS: Plugins[type[FastDecoder]] = Plugins(
    "bactrian.architectures",
    "architecture",
    "a subclass of bactrian.generate.decoder.FastDecoder",
    lambda found: inspect.isclass(found) and issubclass(found, FastDecoder),
)
"""Decoders of other packages, by `model_type` of config.json."""
