/* The part of layers.c that is compiled once for each type that weights may have. `x[rows * dim]` says how many numbers
   the caller is held to, see signatures.py; NULLABLE: or none. */

/* out = x / rms(x) * (offset + weight), by row of [rows, dim]; scale [rows]: 1 / rms(x). */
int NAME(norm_forward)(
    int threads, int64_t rows, int64_t dim, const T x[rows * dim], const T weight[dim], float offset, float epsilon,
    T out[rows * dim], float scale[rows])
{
    #pragma omp parallel for num_threads(threads) schedule(static) if (rows * dim > 4096)
    for (int64_t r = 0; r < rows; r++) {
        const T *row = x + r * dim;
        T *o = out + r * dim;
        float sum = 0;
        for (int64_t i = 0; i < dim; i++) sum += LOAD(row[i]) * LOAD(row[i]);
        float s = 1.0f / sqrtf(sum / dim + epsilon);
        for (int64_t i = 0; i < dim; i++) o[i] = STORE(LOAD(row[i]) * s * (offset + LOAD(weight[i])));
        scale[r] = s;
    }
    return DONE;
}

/* d_weight: [threads, dim], the shares of as many runs of rows; their sum is the gradient. */
int NAME(norm_backward)(
    int threads, int64_t rows, int64_t dim, const T x[rows * dim], const T weight[dim], float offset,
    const float scale[rows], const T grad[rows * dim], T d_x[rows * dim], float d_weight[threads * dim])
{
    #pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        float *dw = d_weight + part * dim;
        for (int64_t i = 0; i < dim; i++) dw[i] = 0;
        for (int64_t r = rows * part / threads; r < rows * (part + 1) / threads; r++) {
            const T *row = x + r * dim, *g = grad + r * dim;
            T *d = d_x + r * dim;
            float dot = 0, s = scale[r];
            for (int64_t i = 0; i < dim; i++) dot += LOAD(g[i]) * (offset + LOAD(weight[i])) * LOAD(row[i]);
            float c = dot * s * s / dim;
            for (int64_t i = 0; i < dim; i++) {
                float v = LOAD(row[i]), u = LOAD(g[i]);
                d[i] = STORE(s * (u * (offset + LOAD(weight[i])) - v * c));
                dw[i] += u * v * s;
            }
        }
    }
    return DONE;
}

/* act(gate) * up by entry. kind 0: silu; 1: gelu by its tanh formula. */
int NAME(gate_forward)(
    int threads, int64_t rows, int64_t dim, int64_t kind, const T gate[rows * dim], const T up[rows * dim],
    T out[rows * dim])
{
    #pragma omp parallel for num_threads(threads) schedule(static) if (rows * dim > 4096)
    for (int64_t r = 0; r < rows; r++) {
        const T *gs = gate + r * dim, *us = up + r * dim;
        T *o = out + r * dim;
        if (kind == 0)
            for (int64_t i = 0; i < dim; i++) {
                float g = LOAD(gs[i]);
                o[i] = STORE(g * sigmoid(g) * LOAD(us[i]));
            }
        else
            for (int64_t i = 0; i < dim; i++) {
                float g = LOAD(gs[i]), t = tanh_fast(0.797884561f * (g + 0.044715f * g * g * g));
                o[i] = STORE(0.5f * g * (1.0f + t) * LOAD(us[i]));
            }
    }
    return DONE;
}

int NAME(gate_backward)(
    int threads, int64_t rows, int64_t dim, int64_t kind, const T gate[rows * dim], const T up[rows * dim],
    const T grad[rows * dim], T d_gate[rows * dim], T d_up[rows * dim])
{
    #pragma omp parallel for num_threads(threads) schedule(static) if (rows * dim > 4096)
    for (int64_t r = 0; r < rows; r++) {
        const T *gs = gate + r * dim, *us = up + r * dim, *ds = grad + r * dim;
        T *dg = d_gate + r * dim, *du = d_up + r * dim;
        if (kind == 0)
            for (int64_t i = 0; i < dim; i++) {
                float g = LOAD(gs[i]), d = LOAD(ds[i]), s = sigmoid(g);
                dg[i] = STORE(d * LOAD(us[i]) * s * (1.0f + g * (1.0f - s)));
                du[i] = STORE(d * g * s);
            }
        else
            for (int64_t i = 0; i < dim; i++) {
                float g = LOAD(gs[i]), d = LOAD(ds[i]), t = tanh_fast(0.797884561f * (g + 0.044715f * g * g * g));
                float slope = 0.5f * (1.0f + t)
                    + 0.5f * g * (1.0f - t * t) * 0.797884561f * (1.0f + 0.134145f * g * g);
                dg[i] = STORE(d * LOAD(us[i]) * slope);
                du[i] = STORE(d * 0.5f * g * (1.0f + t));
            }
    }
    return DONE;
}

static inline float NAME(shaped)(T x, float inverse, float cap) {
    float z = LOAD(x);
    return (cap > 0 ? cap * tanh_fast(z / cap) : z) * inverse;
}

/* By row of logits [rows, size], z = cap tanh(logit / cap) * inverse: sums = log sum exp z; picked = z[target] - sums;
   entropies, unless null: of softmax(z). cap 0: none. A target outside the row: OUTSIDE. */
int NAME(score)(
    int threads, int64_t rows, int64_t size, const T logits[rows * size], const int64_t targets[rows], float inverse,
    float cap, float sums[rows], float picked[rows], NULLABLE float entropies[rows])
{
    for (int64_t r = 0; r < rows; r++)
        if (targets[r] < 0 || targets[r] >= size) return OUTSIDE;
    #pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t r = 0; r < rows; r++) {
        const T *row = logits + r * size;
        float top = -INFINITY, z[BLOCK];
        if (cap > 0)
            for (int64_t i = 0; i < size; i++) { float v = NAME(shaped)(row[i], inverse, cap); top = v > top ? v : top; }
        else
            for (int64_t i = 0; i < size; i++) { float v = LOAD(row[i]) * inverse; top = v > top ? v : top; }
        double total = 0, mean = 0;
        for (int64_t start = 0; start < size; start += BLOCK) {
            int64_t count = size - start < BLOCK ? size - start : BLOCK;
            float part = 0, weighted = 0;
            if (cap > 0)
                for (int64_t i = 0; i < count; i++) z[i] = NAME(shaped)(row[start + i], inverse, cap) - top;
            else
                for (int64_t i = 0; i < count; i++) z[i] = LOAD(row[start + i]) * inverse - top;
            if (entropies)
                for (int64_t i = 0; i < count; i++) {
                    float e = exp_negative(z[i]);
                    part += e;
                    weighted += e * z[i];
                }
            else
                for (int64_t i = 0; i < count; i++) part += exp_negative(z[i]);
            total += part;
            mean += weighted;
        }
        double log_total = log(total);
        sums[r] = (float)(top + log_total);
        picked[r] = (float)(NAME(shaped)(row[targets[r]], inverse, cap) - top - log_total);
        if (entropies) entropies[r] = (float)(log_total - mean / total);
    }
    return DONE;
}

/* Overwrites logits, a slice of the vocabulary, with grad * (onehot(target) - softmax(z)) * dz/dlogit. Targets are counted
   from the slice's first entry and may lie outside it; sums are over the whole vocabulary. */
int NAME(score_backward)(
    int threads, int64_t rows, int64_t size, T logits[rows * size], const int64_t targets[rows],
    const float sums[rows], const float grad[rows], float inverse, float cap)
{
    #pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t r = 0; r < rows; r++) {
        T *row = logits + r * size;
        float g = grad[r], sum = sums[r];
        int here = targets[r] >= 0 && targets[r] < size;
        float at = here ? LOAD(row[targets[r]]) : 0;
        if (cap > 0)
            for (int64_t i = 0; i < size; i++) {
                float t = tanh_fast(LOAD(row[i]) / cap), p = exp_negative(cap * t * inverse - sum);
                row[i] = STORE(-g * p * (1.0f - t * t) * inverse);
            }
        else
            for (int64_t i = 0; i < size; i++) row[i] = STORE(-g * exp_negative(LOAD(row[i]) * inverse - sum) * inverse);
        float t = cap > 0 ? tanh_fast(at / cap) : 0, z = (cap > 0 ? cap * t : at) * inverse;
        if (here) row[targets[r]] = STORE(g * (1.0f - exp_negative(z - sum)) * (1.0f - t * t) * inverse);
    }
    return DONE;
}

/* out [threads]: sums of squares of as many runs of x. Float32 within a block, float64 over blocks. */
int NAME(square_sum)(int threads, int64_t size, const T x[size], double out[threads]) {
    #pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        int64_t end = size * (part + 1) / threads;
        double total = 0;
        for (int64_t start = size * part / threads; start < end; start += BLOCK) {
            int64_t stop = start + BLOCK < end ? start + BLOCK : end;
            float sum = 0;
            for (int64_t i = start; i < stop; i++) sum += LOAD(x[i]) * LOAD(x[i]);
            total += sum;
        }
        out[part] = total;
    }
    return DONE;
}

/* AdamW in one pass: grad times scale moves mean, square and master; copy is master rounded. first and second: 1 - beta;
   rate is divided by the first moment's bias correction, root is that of the second's. */
int NAME(adamw)(
    int threads, int64_t size, const T grad[size], float master[size], float mean[size], float square[size],
    T copy[size], float scale, float kept, float rate, float first, float second, float root, float epsilon)
{
    #pragma omp parallel for num_threads(threads) schedule(static) if (size > 4096)
    for (int64_t i = 0; i < size; i++) {
        float g = LOAD(grad[i]) * scale;
        float m = mean[i] + first * (g - mean[i]), v = square[i] + second * (g * g - square[i]);
        float w = master[i] * kept - rate * m / (sqrtf(v) / root + epsilon);
        mean[i] = m;
        square[i] = v;
        master[i] = w;
        copy[i] = STORE(w);
    }
    return DONE;
}
