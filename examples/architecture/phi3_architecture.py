"""The fast decoder for Phi-3, whose layers hold query, key and value as one matrix, and gate and up as another."""

from bactrian.generate.decoder import FastDecoder, FusedLinear, LayerOperations, part


class Phi3Decoder(FastDecoder):
    """Phi-3 (`model_type: phi3`)."""

    def head_shape(self) -> tuple[int, int, int]:
        """From the configuration: the layers hold one matrix for all heads."""
        config = self.model.network.config
        heads, kv_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        return heads, kv_heads, int(part(self.blocks[0], "self_attn.head_dim"))

    def layer(self, index: int) -> LayerOperations:
        """A norm before attention and one before the MLP."""
        block = self.blocks[index]
        return LayerOperations(
            qkv=FusedLinear(part(block, "self_attn.qkv_proj")),
            out=FusedLinear(part(block, "self_attn.o_proj")),
            gate_up=FusedLinear(part(block, "mlp.gate_up_proj")),
            down=FusedLinear(part(block, "mlp.down_proj")),
            gated=self.gated(part(block, "mlp.activation_fn")),
            norm_in=self.norm(part(block, "input_layernorm")),
            norm_mlp=self.norm(part(block, "post_attention_layernorm")),
        )
