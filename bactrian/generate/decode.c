/* Attention of a decoding step over a key-value cache, norms, gates, and the choice of a token from its logits.

   Compiled on first use by native.py with the machine's own C compiler, for the machine's own processor. Plain C that
   vectorises by itself: no intrinsics, no headers but the standard ones and OpenMP's. Everything is computed in float32, whatever
   the cache holds; each token is computed alone, so that its result does not depend on what else is in the batch. */

#include "numbers.h"

/* A run of keys and values that several tokens may share: a prompt, or a row's own part of the cache. */
typedef struct {
    int64_t keys, values;   /* addresses in layer 0, of [heads, ..., dim] */
    int64_t layer;          /* bytes from one layer to the next */
    int64_t head;           /* elements from one head to the next */
    int64_t length;         /* tokens that are seen */
    int64_t room;           /* tokens that the memory holds, from the first on */
} Run;

/* A token of the step. Its own key and value are written behind the last of its runs. */
typedef struct {
    int64_t first, runs;    /* its runs: [first, first + runs) */
    int64_t seen;           /* tokens seen in all runs together, itself included */
} Token;

#define BLOCK 256 /* vocabulary entries that are summed at once */
#define CHUNK 64  /* entries of a head's values that are summed at once, */
#define GROUP 4   /* for as many heads: what fits the registers */
#define MOST 65536 /* heads, and numbers in a head */

/* The most that one of the tokens sees; -1 where one's runs are not among those held, reach beyond their memory, or are
   not together what it sees, and where its own, the last, has no place for it. */
static int64_t longest(int64_t tokens, const Token *token, int64_t held, const Run *runs) {
    int64_t most = 0;
    for (int64_t t = 0; t < tokens; t++) {
        int64_t seen = 0, first = token[t].first, count = token[t].runs;
        if (first < 0 || count < 1 || first > held - count) return -1;
        for (const Run *run = runs + first; run < runs + first + count; run++) {
            if (run->length < 0 || run->length > run->room) return -1;
            if (__builtin_add_overflow(seen, run->length, &seen)) return -1;
        }
        if (seen != token[t].seen || runs[first + count - 1].length < 1) return -1;
        most = seen > most ? seen : most;
    }
    return most;
}

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
