/* What training does between its matrix products: norms, gated units and the softmax over the vocabulary, forward and
   backward, and AdamW. Compiled on first use by native.py. Plain C that vectorises by itself. One pass over memory where torch's
   own operations take five to ten, which is most of what they cost. */

#include "numbers.h"

#define BLOCK 512 /* numbers that are summed in float32; blocks are summed in float64 */

static inline float tanh_fast(float x) {
    float e = exp_negative(-2.0f * fabsf(x)), t = (1.0f - e) / (1.0f + e);
    return x < 0 ? -t : t;
}

static inline float sigmoid(float x) {
    float e = exp_negative(-fabsf(x));
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

#define T uint16_t
#define LOAD load_bf16
#define STORE store_bf16
#define NAME(x) x##_bf16
#include "layers_typed.h"
#undef T
#undef LOAD
#undef STORE
#undef NAME

#define T float
#define LOAD load_f32
#define STORE store_f32
#define NAME(x) x##_f32
#include "layers_typed.h"
