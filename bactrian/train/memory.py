"""How much memory training will take, before anything is loaded. Loads no torch."""

from bactrian.train.options import AdapterSettings, MemorySettings, OptimiserSettings


def training_memory(
    parameters: float,
    tokens: float,
    optimiser: OptimiserSettings,
    memory: MemorySettings,
    adapter: AdapterSettings | None = None,
    frozen: float = 0.0,
) -> float:
    """Peak bytes of training this many parameters, roughly, beside as many `frozen` ones.

    Args:
        tokens: of all the training; a micro-batch holds no more.
    """
    weights = 4 * (_copies(optimiser, adapter) * parameters + frozen)
    return weights + activation_memory(parameters, min(memory.micro_tokens, tokens), kept(memory))


def kept(memory: MemorySettings) -> float:
    """Share of the activations that is there at once. Measured: dropping MLPs' saves half, layers' nine tenths."""
    dropped = {"none": 0.0, "mlp": 0.5, "layer": 0.9}[memory.recompute]
    return 1 - dropped / memory.recompute_every


def activation_memory(parameters: float, micro_tokens: float, share: float = 1.0) -> float:
    """Bytes of a micro-batch's activations, roughly, and of what is always there.

    34 floats per token and hidden unit and layer, `share` of them kept, for a model of the usual proportions, and a
    chunk of logits.
    """
    size: float = (parameters / 135e6) ** 0.6
    return share * 6e5 * micro_tokens * size + 1.5e9


def _copies(optimiser: OptimiserSettings, adapter: AdapterSettings | None) -> float:
    """How many times the weights' number of floats training holds: weights, gradient, two moments."""
    if adapter is not None:
        return 0.5 if adapter.weights == "nf4" else 1.0
    if optimiser.offload:  # of a model on a GPU: weights and gradient in bfloat16
        return 1.0
    return 4.0 if optimiser.states == "float32" else 2.5
