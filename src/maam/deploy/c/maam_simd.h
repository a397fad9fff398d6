/* Pairs of 16 bits in a word, and the instructions of Cortex-M4 and M7 on them; the same in plain C
 * with MAAM_DSP_EMULATED, for tests on other machines. */
#ifndef MAAM_SIMD_H
#define MAAM_SIMD_H

#include <stdint.h>
#include <string.h>

#ifdef MAAM_DSP_EMULATED
typedef uint32_t maam_pair;
#else
#include <arm_acle.h>
typedef uint32_t __attribute__((may_alias)) maam_pair;
#endif

static inline maam_pair maam_load(const void *values)
{
    uint32_t pair;
    memcpy(&pair, values, sizeof pair); /* one instruction, aligned or not */
    return pair;
}

static inline void maam_save(int16_t *values, maam_pair pair)
{
    memcpy(values, &pair, sizeof pair);
}

static inline maam_pair maam_join(int32_t low, int32_t high)
{
    return ((uint32_t)low & 0xFFFFu) | (uint32_t)high << 16;
}

static inline maam_pair maam_both(int32_t value)
{
    return maam_join(value, value);
}

#ifdef MAAM_DSP_EMULATED

static inline int32_t maam_smlad(maam_pair a, maam_pair b, int32_t sum)
{
    sum += (int32_t)(int16_t)(a & 0xFFFFu) * (int16_t)(b & 0xFFFFu);
    return sum + (int32_t)(int16_t)(a >> 16) * (int16_t)(b >> 16);
}

/* Bytes 0 and 2 of four int8, widened. */
static inline maam_pair maam_even(maam_pair four)
{
    return maam_join((int8_t)(four & 0xFFu), (int8_t)(four >> 16 & 0xFFu));
}

/* Bytes 1 and 3. */
static inline maam_pair maam_odd(maam_pair four)
{
    return maam_even(four >> 8);
}

/* The low halves of two pairs. */
static inline maam_pair maam_low(maam_pair a, maam_pair b)
{
    return (a & 0xFFFFu) | b << 16;
}

/* The high halves of two pairs. */
static inline maam_pair maam_high(maam_pair a, maam_pair b)
{
    return a >> 16 | (b & 0xFFFF0000u);
}

#else

static inline int32_t maam_smlad(maam_pair a, maam_pair b, int32_t sum)
{
    return __smlad((int16x2_t)a, (int16x2_t)b, sum);
}

static inline maam_pair maam_even(maam_pair four)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(four));
    return pair;
}

static inline maam_pair maam_odd(maam_pair four)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(four));
    return pair;
}

static inline maam_pair maam_low(maam_pair a, maam_pair b)
{
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}

static inline maam_pair maam_high(maam_pair a, maam_pair b)
{
    uint32_t pair;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(pair) : "r"(b), "r"(a));
    return pair;
}

#endif
#endif
