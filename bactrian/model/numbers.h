/* What the C files share: numbers of both types that weights have, and exp. Everything is computed in float32. */

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
