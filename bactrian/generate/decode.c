/* Attention of a decoding step over a key-value cache, norms, gates, and the choice of a token from its logits.

   Compiled on first use by native.py with the machine's own C compiler, for the machine's own processor. Plain C that
   vectorises by itself: no intrinsics, no headers but the standard ones. Everything is computed in float32, whatever
   the cache holds; each token is computed alone, so that its result does not depend on what else is in the batch. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline float load_bf16(uint16_t x) {
    union { uint32_t i; float f; } u = {(uint32_t)x << 16};
    return u.f;
}

static inline uint16_t store_bf16(float x) { /* round to nearest, ties to even */
    union { float f; uint32_t i; } u = {x};
    return (uint16_t)((u.i + 0x7fff + ((u.i >> 16) & 1)) >> 16);
}

static inline float load_f32(float x) { return x; }
static inline float store_f32(float x) { return x; }

/* exp to within 2 units in the last place, for x <= 0; vectorises, unlike the library's. */
static inline float exp_negative(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = rintf(x * 1.44269504f);
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { int32_t i; float f; } scale = {((int32_t)n + 127) << 23};
    return p * scale.f;
}

/* A run of keys and values that several tokens may share: a prompt, or a row's own part of the cache. */
typedef struct {
    int64_t keys, values;   /* addresses in layer 0, of [heads, ..., dim] */
    int64_t layer;          /* bytes from one layer to the next */
    int64_t head;           /* elements from one head to the next */
    int64_t length;         /* tokens that are seen */
} Run;

/* A token of the step. Its own key and value are written behind the last of its runs. */
typedef struct {
    int64_t first, runs;    /* its runs: [first, first + runs) */
    int64_t seen;           /* tokens seen in all runs together, itself included */
} Token;

#define BLOCK 256 /* vocabulary entries that are summed at once */

#define T uint16_t
#define LOAD load_bf16
#define STORE store_bf16
#define NAME(x) x##_bf16
#include "decode_typed.h"
#undef T
#undef LOAD
#undef STORE
#undef NAME

#define T float
#define LOAD load_f32
#define STORE store_f32
#define NAME(x) x##_f32
#include "decode_typed.h"
