/* From sums back to 8 bits in five instructions, in the usual case; not for users. */
#ifndef MAAM_SCALE_H
#define MAAM_SCALE_H

#include "maam_int8.h"
#include "maam_simd.h"

/* What brings the sums of one output back to 8 bits. `fast` is the usual case: the shift is above 32
 * and one of the residual is `whole` units of the sum. */
typedef struct {
    int32_t start; /* bias; if fast, with what the residual's zero adds */
    int32_t multiplier;
    int32_t rounding;
    int32_t down; /* shift of the upper half of a product */
    int32_t whole;
    int32_t fast;
} maam_scale;

static inline maam_scale maam_scale_of(const maam_numbers *numbers, int32_t o, int32_t residual_zero)
{
    int32_t shift = numbers->shift[o], factor = numbers->residual ? numbers->residual[o] : 0;
    maam_scale scale = {numbers->bias[o], numbers->multiplier[o], 0, shift - 32, factor >> 16, 0};
    scale.fast = shift > 32 && (factor & 0xFFFF) == 0;
    if (scale.fast) {
        scale.start -= residual_zero * scale.whole;
        scale.rounding = (int32_t)1 << (shift - 33);
    }
    return scale;
}

/* maam_scaled and the clamp to int8, in the usual case. */
static inline int32_t maam_finish(const maam_scale *scale, int32_t zero, int32_t sum)
{
    int32_t upper = (int32_t)(((int64_t)sum * scale->multiplier) >> 32);
    return maam_saturate(((upper + scale->rounding) >> scale->down) + zero);
}

#endif
