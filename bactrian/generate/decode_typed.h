/* The part of decode.c that is compiled once for each type that a cache or logits may have. `x[rows * dim]` says how many
   numbers the caller is held to, see signatures.py. */

/* Rotate one head, [dim]: pairs are (i, i + dim / 2). */
static inline void NAME(rotate)(const T *x, const float *cos, const float *sin, float *out, int dim) {
    int half = dim / 2;
    for (int i = 0; i < half; i++) {
        float a = LOAD(x[i]), b = LOAD(x[i + half]);
        out[i] = a * cos[i] - b * sin[i];
        out[i + half] = b * cos[i + half] + a * sin[i + half];
    }
}

/* Attention of `group` query heads that share one key head, at most GROUP, over the runs of one token: a key or a value
   is read and converted once for all of them. While keys are worked on, their values are fetched.
   queries: [group, dim], scaled. scores: [group, seen], scratch. out: [group, dim]. */
static inline __attribute__((always_inline)) void NAME(attend_group)(
    const float *queries, const int group, const Run *runs, int64_t count, int64_t layer, int64_t head, int64_t skip,
    int64_t seen, float *scores, T *out, const int dim)
{
    int64_t at = 0, hidden = skip;
    for (int64_t r = 0; r < count; r++) {
        const T *keys = (const T *)(runs[r].keys + layer * runs[r].layer) + head * runs[r].head;
        const T *values = (const T *)(runs[r].values + layer * runs[r].layer) + head * runs[r].head;
        int64_t start = hidden < runs[r].length ? hidden : runs[r].length;
        hidden -= start;
        for (int64_t j = start; j < runs[r].length; j++, at++) {
            float sum[GROUP] = {0};
            for (int i = 0; i < dim; i += 64 / (int)sizeof(T)) __builtin_prefetch(values + j * dim + i);
            for (int c = 0; c < dim; c += CHUNK) {
                const int wide = dim - c < CHUNK ? dim - c : CHUNK;
                float row[CHUNK];
                for (int i = 0; i < wide; i++) row[i] = LOAD(keys[j * dim + c + i]);
                for (int g = 0; g < group; g++)
                    for (int i = 0; i < wide; i++) sum[g] += queries[g * dim + c + i] * row[i];
            }
            for (int g = 0; g < group; g++) scores[g * seen + at] = sum[g];
        }
    }
    int64_t n = at;
    for (int g = 0; g < group; g++) {
        float *s = scores + g * seen, top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) top = s[j] > top ? s[j] : top;
        for (int64_t j = 0; j < n; j++) s[j] = exp_negative(s[j] - top);
        for (int64_t j = 0; j < n; j++) sum += s[j];
        float inverse = 1.0f / sum;
        for (int64_t j = 0; j < n; j++) s[j] *= inverse;
    }
    for (int c = 0; c < dim; c += CHUNK) { /* as many sums as registers hold */
        const int wide = dim - c < CHUNK ? dim - c : CHUNK;
        float acc[GROUP][CHUNK];
        for (int g = 0; g < group; g++)
            for (int i = 0; i < wide; i++) acc[g][i] = 0;
        at = 0, hidden = skip;
        for (int64_t r = 0; r < count; r++) {
            const T *values = (const T *)(runs[r].values + layer * runs[r].layer) + head * runs[r].head + c;
            int64_t start = hidden < runs[r].length ? hidden : runs[r].length;
            hidden -= start;
            for (int64_t j = start; j < runs[r].length; j++, at++) {
                float row[CHUNK];
                for (int i = 0; i < wide; i++) row[i] = LOAD(values[j * dim + i]);
                for (int g = 0; g < group; g++)
                    for (int i = 0; i < wide; i++) acc[g][i] += scores[g * seen + at] * row[i];
            }
        }
        for (int g = 0; g < group; g++)
            for (int i = 0; i < wide; i++) out[g * dim + c + i] = STORE(acc[g][i]);
    }
}

static inline __attribute__((always_inline)) void NAME(attend_head)(
    const float *queries, int group, const Run *runs, int64_t count, int64_t layer, int64_t head, int64_t skip,
    int64_t seen, float *scores, T *out, const int dim)
{
    for (int part; group > 0; group -= part, queries += part * dim, out += part * dim) {
        part = group < GROUP ? group : GROUP;
        switch (part) { /* constant sizes stay in registers */
            case 1: NAME(attend_group)(queries, 1, runs, count, layer, head, skip, seen, scores, out, dim); break;
            case 2: NAME(attend_group)(queries, 2, runs, count, layer, head, skip, seen, scores, out, dim); break;
            case 3: NAME(attend_group)(queries, 3, runs, count, layer, head, skip, seen, scores, out, dim); break;
            default: NAME(attend_group)(queries, GROUP, runs, count, layer, head, skip, seen, scores, out, dim);
        }
    }
}

/* One layer's attention for all tokens of a step: each writes its key and value into the last of its runs, then attends.
   qkv: by token the heads of queries, keys and values. window: keys that far back are not seen; 0: all are.
   UNFIT, and nothing written: heads that do not fit together, or tokens and runs that do not (see `longest`). */
int NAME(attend)(
    int threads, int64_t tokens, int64_t held, int64_t heads, int64_t kv_heads, int64_t dim,
    const T qkv[tokens * heads * dim + 2 * tokens * kv_heads * dim], const float cos[tokens * dim],
    const float sin[tokens * dim], const Token token[tokens], const Run runs[held], int64_t layer, float scale,
    int64_t window, T out[tokens * heads * dim])
{
    if (kv_heads < 1 || heads > MOST || dim > MOST || heads % kv_heads || dim % 2 || layer < 0 || window < 0) return UNFIT;
    const int64_t width = (heads + 2 * kv_heads) * dim, most = longest(tokens, token, held, runs);
    const int group = (int)(heads / kv_heads), size = (int)dim;
    if (most < 0) return UNFIT;
    int64_t each, row; /* of scratch: queries of a group, one key, scores of a group */
    if (__builtin_add_overflow(most, 2 * dim, &row)) return NO_MEMORY;
    float *all = scratch(threads, group, row, &each);
    if (!all) return NO_MEMORY;
    #pragma omp parallel num_threads(threads)
    {
        float *queries = all + omp_get_thread_num() * each, *key = queries + group * dim, *scores = key + dim;
        #pragma omp for schedule(static)
        for (int64_t t = 0; t < tokens; t++) { /* all keys are written before any is read */
            const Run *own = &runs[token[t].first + token[t].runs - 1];
            const float *c = cos + t * dim, *s = sin + t * dim;
            for (int64_t h = 0; h < kv_heads; h++) {
                const T *k = qkv + t * width + (heads + h) * dim, *v = k + kv_heads * dim;
                int64_t slot = h * own->head + (own->length - 1) * dim;
                T *to_key = (T *)(own->keys + layer * own->layer) + slot;
                NAME(rotate)(k, c, s, key, size);
                for (int i = 0; i < size; i++) to_key[i] = STORE(key[i]);
                memcpy((T *)(own->values + layer * own->layer) + slot, v, sizeof(T) * (size_t)dim);
            }
        }
        #pragma omp for schedule(dynamic, 1)
        for (int64_t job = 0; job < tokens * kv_heads; job++) {
            int64_t t = job / kv_heads, h = job % kv_heads;
            const float *c = cos + t * dim, *s = sin + t * dim;
            const T *q = qkv + t * width + h * group * dim;
            for (int g = 0; g < group; g++) {
                NAME(rotate)(q + g * dim, c, s, queries + g * dim, size);
                for (int i = 0; i < size; i++) queries[g * dim + i] = LOAD(STORE(queries[g * dim + i])) * scale;
            }
            int64_t seen = token[t].seen, skip = window && seen > window ? seen - window : 0;
            T *o = out + (t * heads + h * group) * dim;
            const Run *r = runs + token[t].first;
            int64_t n = token[t].runs;
            switch (size) { /* a constant size vectorises better */
                case 64: NAME(attend_head)(queries, group, r, n, layer, h, skip, seen, scores, o, 64); break;
                case 128: NAME(attend_head)(queries, group, r, n, layer, h, skip, seen, scores, o, 128); break;
                case 256: NAME(attend_head)(queries, group, r, n, layer, h, skip, seen, scores, o, 256); break;
                default: NAME(attend_head)(queries, group, r, n, layer, h, skip, seen, scores, o, size);
            }
        }
    }
    free(all);
    return DONE;
}

/* A token for each row by inverting its cumulative distribution at that row's uniform, or the likeliest.
   logits: [rows, size]; inverse: 1 / temperature, 0 for the likeliest; uniforms: in [0, 1).
   logprobs: of the chosen token at that temperature (1 for the likeliest); not finite if the logits are not.
   Sums over blocks of entries in float32, over blocks in float64. */
int NAME(choose)(
    int threads, int64_t rows, int64_t size, const T logits[rows * size], const float inverse[rows],
    const double uniforms[rows], int64_t tokens[rows], float logprobs[rows])
{
    if (rows && !size) return UNFIT;
    int64_t blocks = size / BLOCK + (size % BLOCK > 0), each;
    float *all = scratch(threads, 1, blocks + BLOCK, &each);
    if (!all) return NO_MEMORY;
    #pragma omp parallel num_threads(threads)
    {
        float *part = all + omp_get_thread_num() * each, *sums = part + BLOCK;
        #pragma omp for schedule(dynamic, 1)
        for (int64_t b = 0; b < rows; b++) {
            const T *row = logits + b * size;
            float scale = inverse[b] > 0 ? inverse[b] : 1.0f, top = -INFINITY;
            int64_t chosen = -1;
            for (int64_t k = 0; k < blocks; k++) {
                int64_t start = k * BLOCK, count = size - start < BLOCK ? size - start : BLOCK;
                float best = -INFINITY;
                for (int64_t i = 0; i < count; i++) {
                    float x = LOAD(row[start + i]);
                    best = x > best ? x : best;
                }
                sums[k] = best;
                top = best > top ? best : top;
            }
            if (inverse[b] == 0)
                for (int64_t k = 0; k < blocks && chosen < 0; k++)
                    for (int64_t i = k * BLOCK; sums[k] == top && i < size && i < (k + 1) * BLOCK && chosen < 0; i++)
                        if (LOAD(row[i]) == top) chosen = i;
            double total = 0;
            for (int64_t k = 0; k < blocks; k++) {
                int64_t start = k * BLOCK, count = size - start < BLOCK ? size - start : BLOCK;
                float sum = 0;
                for (int64_t i = 0; i < count; i++) sum += exp_negative((LOAD(row[start + i]) - top) * scale);
                sums[k] = sum;
                total += sum;
            }
            if (chosen < 0) {
                double point = uniforms[b] * total, before = 0;
                int64_t k = 0;
                while (k < blocks - 1 && before + sums[k] <= point) before += sums[k++];
                int64_t start = k * BLOCK, count = size - start < BLOCK ? size - start : BLOCK, last = 0;
                for (int64_t i = 0; i < count; i++) part[i] = exp_negative((LOAD(row[start + i]) - top) * scale);
                for (int64_t i = 0; i < count && chosen < 0; i++) { /* an entry of probability 0 is never taken */
                    if (part[i] > 0) last = i;
                    before += part[i];
                    if (before > point && part[i] > 0) chosen = start + i;
                }
                if (chosen < 0) chosen = start + last; /* rounding: the sum in another order was a little smaller */
            }
            tokens[b] = chosen;
            logprobs[b] = (LOAD(row[chosen]) - top) * scale - (float)log(total);
        }
    }
    free(all);
    return DONE;
}

/* x / rms(x) times a weight, by row of [rows, dim]. Rows of x lie `stride` apart. */
int NAME(norm)(
    int threads, int64_t rows, int64_t dim, int64_t stride, const T x[rows * stride - stride + dim],
    const float weight[dim], float epsilon, T out[rows * dim])
{
    #pragma omp parallel for num_threads(threads) schedule(static) if (rows * dim > 4096)
    for (int64_t r = 0; r < rows; r++) {
        const T *row = x + r * stride;
        float sum = 0;
        for (int64_t i = 0; i < dim; i++) sum += LOAD(row[i]) * LOAD(row[i]);
        float scale = 1.0f / sqrtf(sum / dim + epsilon);
        for (int64_t i = 0; i < dim; i++) out[r * dim + i] = STORE(LOAD(row[i]) * scale * weight[i]);
    }
    return DONE;
}

/* act(gate) times up: x [rows, 2 dim], gate before up; out [rows, dim]. kind 0: silu; 1: gelu by its tanh formula. */
int NAME(gate)(
    int threads, int64_t rows, int64_t dim, int64_t kind, const T x[2 * rows * dim], T out[rows * dim])
{
    #pragma omp parallel for num_threads(threads) schedule(static) if (rows * dim > 4096)
    for (int64_t r = 0; r < rows; r++) {
        const T *gates = x + r * 2 * dim, *ups = gates + dim;
        T *o = out + r * dim;
        if (kind == 0)
            for (int64_t i = 0; i < dim; i++) {
                float g = LOAD(gates[i]), e = exp_negative(-fabsf(g));
                o[i] = STORE(g * (g < 0 ? e : 1.0f) / (1.0f + e) * LOAD(ups[i]));
            }
        else
            for (int64_t i = 0; i < dim; i++) {
                float g = LOAD(gates[i]), z = 0.797884561f * (g + 0.044715f * g * g * g);
                float e = exp_negative(-2.0f * fabsf(z)), t = (1.0f - e) / (1.0f + e);
                o[i] = STORE(0.5f * g * (1.0f + (z < 0 ? -t : t)) * LOAD(ups[i]));
            }
    }
    return DONE;
}
