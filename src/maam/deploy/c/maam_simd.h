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

static inline int32_t maam_saturate(int32_t value)
{
    return value < -128 ? -128 : value > 127 ? 127 : value;
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

static inline int32_t maam_saturate(int32_t value)
{
    return __ssat(value, 8);
}

#endif

/* Add to four sums the products of two rows of weights with two pixels: row 0 with pixel 0, with 1,
 * row 1 with pixel 0, with 1. values: for each four columns the pairs (0, 2) of pixel 0 and 1, then
 * their pairs (1, 3); 4-byte aligned. count: of columns / 4, at least 1. */
static inline void maam_products(const int8_t *upper, const int8_t *lower, const int16_t *values,
                                 int32_t count, int32_t *sums)
#if defined(MAAM_DSP_EMULATED) || !defined(__OPTIMIZE__)
{
    for (; count; count--, upper += 4, lower += 4, values += 8) {
        maam_pair u = maam_load(upper), v = maam_load(lower);
        for (int32_t p = 0; p < 2; p++) {
            maam_pair even = maam_load(values + 2 * p), odd = maam_load(values + 4 + 2 * p);
            sums[p] = maam_smlad(maam_even(u), even, sums[p]);
            sums[p] = maam_smlad(maam_odd(u), odd, sums[p]);
            sums[p + 2] = maam_smlad(maam_even(v), even, sums[p + 2]);
            sums[p + 2] = maam_smlad(maam_odd(v), odd, sums[p + 2]);
        }
    }
}
#else /* 18 instructions for 16 products; compilers run out of registers and need 21 */
{
    const int16_t *end = values + 8 * count;
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    uint32_t u, v, wide, first, second;
    __asm__("1:\n"
            "ldrd %[first], %[second], [%[values]], #8\n"
            "ldr %[u], [%[upper]], #4\n"
            "ldr %[v], [%[lower]], #4\n"
            "sxtb16 %[wide], %[u]\n"
            "smlad %[a], %[wide], %[first], %[a]\n"
            "smlad %[b], %[wide], %[second], %[b]\n"
            "sxtb16 %[wide], %[v]\n"
            "smlad %[c], %[wide], %[first], %[c]\n"
            "smlad %[d], %[wide], %[second], %[d]\n"
            "ldrd %[first], %[second], [%[values]], #8\n"
            "sxtb16 %[u], %[u], ror #8\n"
            "smlad %[a], %[u], %[first], %[a]\n"
            "smlad %[b], %[u], %[second], %[b]\n"
            "sxtb16 %[v], %[v], ror #8\n"
            "smlad %[c], %[v], %[first], %[c]\n"
            "smlad %[d], %[v], %[second], %[d]\n"
            "cmp %[values], %[end]\n"
            "bne 1b\n"
            : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [upper] "+r"(upper),
              [lower] "+r"(lower), [values] "+r"(values), [u] "=&r"(u), [v] "=&r"(v),
              [wide] "=&r"(wide), [first] "=&r"(first), [second] "=&r"(second)
            : [end] "r"(end)
            : "cc", "memory");
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}
#endif

#endif
