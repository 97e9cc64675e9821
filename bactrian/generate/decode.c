/* Attention of a decoding step over a key-value cache, norms, gates, and the choice of a token from its logits.

   Compiled on first use by native.py with the machine's own C compiler, for the machine's own processor. Plain C that
   vectorises by itself: no intrinsics, no headers but the standard ones. Everything is computed in float32, whatever
   the cache holds; each token is computed alone, so that its result does not depend on what else is in the batch. */

#include "numbers.h"

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
#define CHUNK 64  /* entries of a head's values that are summed at once, */
#define GROUP 4   /* for as many heads: what fits the registers */

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
