/* What the C files share: numbers of both types that weights have, exp, scratch memory and what a kernel returns.
   Everything is computed in float32. */

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Signatures are read by signatures.py, which says in what form they are: native.py raises an exception for each code. */
enum { DONE, NO_MEMORY, OUTSIDE, UNFIT };
#define NULLABLE /* an array that may be NULL */

/* rows x count floats for each of so many threads, in cache lines of its own: NULL where there is no room for them.
   *each: floats from one thread's to the next one's. */
static inline float *scratch(int threads, int64_t rows, int64_t count, int64_t *each) {
    int64_t bytes;
    if (__builtin_mul_overflow(rows, count, each) || __builtin_add_overflow(*each, 31, each)) return NULL;
    *each = *each / 16 * 16;
    if (__builtin_mul_overflow(*each, (int64_t)sizeof(float) * threads, &bytes)) return NULL;
    return malloc((size_t)bytes);
}

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
    union { float f; uint32_t i; } whole = {n + 12582912.0f}, scale; /* 1.5 * 2^23: n is in the lowest bits, and a NaN */
    scale.i = (whole.i + 127) << 23;                               /* is no more undefined than other numbers are */
    return p * scale.f;
}
