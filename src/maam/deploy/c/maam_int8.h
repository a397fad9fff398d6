/* What the kernels in int8 share; not for users. */
#ifndef MAAM_INT8_H
#define MAAM_INT8_H

#include "maam_nn.h"

/* The constants of a convolution, as pointers. */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    const int32_t *multiplier;
    const uint8_t *shift;
    const int32_t *residual; /* or null */
    int32_t zero;
} maam_numbers;

static inline maam_numbers maam_numbers_of(const uint8_t *block, const maam_conv *conv)
{
    maam_numbers numbers;
    numbers.weights = (const int8_t *)(block + conv->weights_at);
    numbers.bias = (const int32_t *)(block + conv->bias_at);
    numbers.multiplier = (const int32_t *)(block + conv->multiplier_at);
    numbers.shift = block + conv->shift_at;
    numbers.residual = conv->residual_at ? (const int32_t *)(block + conv->residual_at) : 0;
    numbers.zero = conv->zero;
    return numbers;
}

/* floor((sum * multiplier + 2^(shift-1)) / 2^shift), kept within 22 bits: what follows clamps it to
 * at most 16. Right shifts of negative numbers round down, as they do in gcc and clang. */
static inline int32_t maam_scaled(int32_t sum, int32_t multiplier, int32_t shift)
{
    int64_t product = (int64_t)sum * multiplier;
    if (shift > 32) { /* the rounding lies wholly in the upper half */
        return ((int32_t)(product >> 32) + ((int32_t)1 << (shift - 33))) >> (shift - 32);
    }
    product = (product + ((int64_t)1 << (shift - 1))) >> shift;
    if (product > 0x1FFFFF) {
        return 0x1FFFFF;
    }
    return product < -0x1FFFFF ? -0x1FFFFF : (int32_t)product;
}

/* What a residual adds to a sum: value is the input's number without its zero. */
static inline int32_t maam_residual(int32_t value, int32_t factor)
{
    return (int32_t)(((int64_t)value * factor + 0x8000) >> 16);
}

static inline int32_t maam_clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Write value number `index` of a map, clamped to int8, or to int16 if it has 2 bytes. */
static inline void maam_store(int8_t *map, int32_t bytes, int32_t index, int32_t value)
{
    if (bytes == 1) {
        map[index] = (int8_t)maam_clamp(value, -128, 127);
    } else {
        ((int16_t *)map)[index] = (int16_t)maam_clamp(value, -32768, 32767);
    }
}

#endif
