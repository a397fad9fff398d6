/* Convolutions in int8 for Cortex-M4 and M7, whose SMLAD multiplies two pairs of 16 bits and adds
 * both products in one cycle.
 *
 * Values are widened to 16 bits once, and then read many times. The widening splits a word of four
 * int8 into the pairs (0, 2) and (1, 3), so values of a dot product are kept in that order: four of
 * two pixels make a "quad" of eight int16, see maam_products.
 * The depthwise convolution reads each channel as a plane; a pair is two columns of the window. */
#ifndef MAAM_INT8_DSP_H
#define MAAM_INT8_DSP_H

#include <string.h>

#include "maam_int8.h"
#include "maam_scale.h"
#include "maam_simd.h"

enum { CHANNELS_AT_ONCE = 4, STRIP_BYTES = 2048 }; /* deploy/c/planner.py has them too */

/* Where value i of pixel p lies in a quad. */
static inline int32_t place_of(int32_t i, int32_t p)
{
    return (i >> 2) * 8 + (i & 1) * 4 + p * 2 + (i >> 1 & 1);
}

/* Where a product's outcome goes. */
typedef struct {
    const int8_t *residual; /* the row of the input that is added, or null */
    int32_t residual_zero;
    int8_t *row; /* of the output */
    int32_t channels;
    int32_t bytes;
} maam_target;

/* Write one output of two pixels, in the usual case. residual: null, or where it lies for `to`. */
static inline void finish_two(const maam_scale *scale, int32_t zero, const int8_t *residual,
                              int8_t *to, int32_t channels, int32_t one, int32_t two)
{
    if (residual) {
        one += residual[0] * scale->whole;
        two += residual[channels] * scale->whole;
    }
    to[0] = (int8_t)maam_finish(scale, zero, one);
    to[channels] = (int8_t)maam_finish(scale, zero, two);
}

/* Write output o of pixel x, in all cases. */
static void finish(const maam_numbers *numbers, const maam_target *target, int32_t o, int32_t x,
                   int32_t sum)
{
    int32_t index = x * target->channels + o;
    if (target->residual) {
        int32_t value = target->residual[index] - target->residual_zero;
        sum += maam_residual(value, numbers->residual[o]);
    }
    sum = maam_scaled(sum, numbers->multiplier[o], numbers->shift[o]) + numbers->zero;
    maam_store(target->row, target->bytes, index, sum);
}

/* Outputs `begin` to `end` of some pixels, from quads of each two of them. A row of weights may be
 * read up to three bytes beyond its end: the values there are 0. */
static void multiply(const maam_numbers *numbers, int32_t begin, int32_t end, const int16_t *values,
                     int32_t depth, int32_t pixels, const maam_target *target)
{
    int32_t quads = (depth + 3) >> 2, zero = numbers->zero, channels = target->channels;
    for (int32_t o = begin; o < end; o += 2) {
        int32_t step = o + 1 < end ? 1 : 0, x = 0;
        const int8_t *upper = numbers->weights + o * depth, *lower = upper + step * depth;
        const int8_t *residual = target->residual ? target->residual + o : 0;
        const int16_t *pair = values;
        int8_t *to = target->row + o;
        maam_scale first = maam_scale_of(numbers, o, target->residual_zero);
        maam_scale second = maam_scale_of(numbers, o + step, target->residual_zero);
        if (first.fast && second.fast && target->bytes == 1) {
            for (; x + 1 < pixels; x += 2, pair += 8 * quads, to += 2 * channels) {
                int32_t sums[4] = {first.start, first.start, second.start, second.start};
                maam_products(upper, lower, pair, quads, sums);
                finish_two(&first, zero, residual, to, channels, sums[0], sums[1]);
                finish_two(&second, zero, residual ? residual + step : 0, to + step, channels,
                           sums[2], sums[3]);
                residual = residual ? residual + 2 * channels : 0;
            }
        }
        for (; x < pixels; x += 2, pair += 8 * quads) {
            int32_t sums[4] = {numbers->bias[o], numbers->bias[o], numbers->bias[o + step],
                               numbers->bias[o + step]};
            maam_products(upper, lower, pair, quads, sums);
            finish(numbers, target, o, x, sums[0]);
            finish(numbers, target, o + step, x, sums[2]);
            if (x + 1 < pixels) {
                finish(numbers, target, o, x + 1, sums[1]);
                finish(numbers, target, o + step, x + 1, sums[3]);
            }
        }
    }
}

/* The values under the window for pixel (y, x) of the output, one group of channels, as pixel p of
 * the quads. */
static void gather(const maam_map *in, const int8_t *source, const maam_conv *conv, int32_t group,
                   int32_t y, int32_t x, int32_t p, int16_t *quads)
{
    int32_t depth = in->channels / conv->groups, number = 0;
    int32_t top = y * conv->stride - conv->padding, left = x * conv->stride - conv->padding;
    for (int32_t i = top; i < top + conv->rows; i++) {
        for (int32_t j = left; j < left + conv->columns; j++) {
            int inside = i >= 0 && i < in->height && j >= 0 && j < in->width;
            int32_t pixel = inside ? (i * in->width + j) * in->channels + group * depth : 0;
            for (int32_t c = 0; c < depth; c++, number++) {
                int32_t value = inside ? source[pixel + c] : in->zero;
                quads[place_of(number, p)] = (int16_t)value;
            }
        }
    }
}

static void convolution(const uint8_t *block, const maam_layer *layer, uint8_t *arena)
{
    const maam_conv *conv = layer->conv;
    const maam_map *in = &layer->in, *out = &layer->out;
    maam_numbers numbers = maam_numbers_of(block, conv);
    const int8_t *source = (const int8_t *)(arena + in->at);
    int16_t *quads = (int16_t *)(arena + layer->scratch_at);
    int32_t depth = conv->rows * conv->columns * (in->channels / conv->groups);
    int32_t each = conv->outputs / conv->groups, pair = (depth + 3) / 4 * 8;
    int32_t strip = STRIP_BYTES / (2 * pair) * 2; /* pixels at a time, so as to read weights once */
    maam_target target = {0, 0, 0, out->channels, out->bytes};
    strip = strip < 2 ? 2 : strip < out->width ? strip : (out->width + 1) & ~1;
    memset(quads, 0, (size_t)(strip / 2 * pair) * sizeof *quads);
    for (int32_t row = 0; row < out->height; row++) {
        int32_t y = layer->backwards ? out->height - 1 - row : row;
        for (int32_t x = 0; x < out->width; x += strip) {
            int32_t pixels = x + strip < out->width ? strip : out->width - x;
            int32_t place = (y * out->width + x) * out->channels * out->bytes;
            target.row = (int8_t *)(arena + out->at) + place;
            for (int32_t group = 0; group < conv->groups; group++) {
                for (int32_t p = 0; p < pixels; p++) {
                    gather(in, source, conv, group, y, x + p, p & 1, quads + p / 2 * pair);
                }
                int32_t begin = group * each;
                multiply(&numbers, begin, begin + each, quads, depth, pixels, &target);
            }
        }
    }
}

/* The rows under the window for row y of the output, as planes of int16, one after another for
 * `count` channels. length: of a row of a plane, even. Columns beside the map have its zero from the
 * start; rows above and below it get that here. */
static void fill_planes(const maam_map *in, const int8_t *source, const maam_conv *conv, int32_t y,
                        int32_t count, int32_t length, int16_t *planes)
{
    int32_t step = conv->rows * length, channels = in->channels;
    int32_t line = y * conv->stride - conv->padding;
    for (int32_t i = 0; i < conv->rows; i++, line++, planes += length) {
        if (line < 0 || line >= in->height) {
            for (int32_t c = 0; c < count; c++) {
                for (int32_t x = 0; x < length; x += 2) {
                    maam_save(planes + c * step + x, maam_both(in->zero));
                }
            }
            continue;
        }
        const int8_t *values = source + line * in->width * channels;
        int16_t *plane = planes + conv->padding;
        int32_t x = 0;
        for (; count == 4 && x + 1 < in->width; x += 2, values += 2 * channels, plane += 2) {
            maam_pair left = maam_load(values), right = maam_load(values + channels);
            maam_pair even = maam_even(left), odd = maam_odd(left);
            maam_pair even2 = maam_even(right), odd2 = maam_odd(right);
            maam_save(plane, maam_low(even, even2));
            maam_save(plane + step, maam_low(odd, odd2));
            maam_save(plane + 2 * step, maam_high(even, even2));
            maam_save(plane + 3 * step, maam_high(odd, odd2));
        }
        for (; x < in->width; x++, values += channels, plane++) {
            for (int32_t c = 0; c < count; c++) {
                plane[c * step] = values[c];
            }
        }
    }
}

/* One channel of a row of a depthwise convolution, four outputs at a time.
 * plane: its rows. pairs: its weights, (rows, `wide`) pairs of columns. line: where its values go in
 * quads, `step` int16 from two pixels to the next two. */
static inline void depthwise(const int16_t *plane, int32_t length, const maam_pair *pairs,
                             int32_t rows, int32_t wide, int32_t stride, int32_t width,
                             const maam_numbers *numbers, int32_t c, int16_t *line, int32_t step)
{
    maam_scale scale = maam_scale_of(numbers, c, 0);
    int32_t zero = numbers->zero;
    for (int32_t x = 0; x < width; x += 4, line += 2 * step) {
        int32_t first = scale.start, second = first, third = first, fourth = first;
        const int16_t *values = plane + x * stride;
        const maam_pair *weights = pairs;
        for (int32_t i = 0; i < rows; i++, values += length) {
            for (int32_t j = 0; j < wide; j++, weights++) {
                const int16_t *from = values + 2 * j;
                first = maam_smlad(*weights, maam_load(from), first);
                second = maam_smlad(*weights, maam_load(from + stride), second);
                third = maam_smlad(*weights, maam_load(from + 2 * stride), third);
                fourth = maam_smlad(*weights, maam_load(from + 3 * stride), fourth);
            }
        }
        if (scale.fast && x + 3 < width) {
            line[0] = (int16_t)maam_finish(&scale, zero, first);
            line[2] = (int16_t)maam_finish(&scale, zero, second);
            line[step] = (int16_t)maam_finish(&scale, zero, third);
            line[step + 2] = (int16_t)maam_finish(&scale, zero, fourth);
            continue;
        }
        int32_t sums[4] = {first, second, third, fourth};
        for (int32_t k = 0; k < 4 && x + k < width; k++) {
            int32_t value = maam_scaled(sums[k], scale.multiplier, numbers->shift[c]);
            line[(k >> 1) * step + (k & 1) * 2] = (int16_t)maam_clamp(zero + value, -128, 127);
        }
    }
}

/* Weights (rows, columns, channels) as pairs of columns: (channels, rows, wide). */
static void pair_weights(const maam_conv *conv, const int8_t *weights, int32_t wide,
                         maam_pair *pairs)
{
    for (int32_t c = 0; c < conv->outputs; c++) {
        for (int32_t i = 0; i < conv->rows; i++) {
            const int8_t *row = weights + i * conv->columns * conv->outputs + c;
            for (int32_t j = 0; j < 2 * wide; j += 2) {
                int32_t next = j + 1 < conv->columns ? row[(j + 1) * conv->outputs] : 0;
                *pairs++ = maam_join(row[j * conv->outputs], next);
            }
        }
    }
}

static void block_of_two(const uint8_t *block, const maam_layer *layer, uint8_t *arena)
{
    const maam_map *in = &layer->in, *out = &layer->out;
    const maam_conv *conv = layer->conv;
    maam_numbers first = maam_numbers_of(block, conv), second = maam_numbers_of(block, conv + 1);
    const int8_t *source = (const int8_t *)(arena + in->at);
    int32_t wide = (conv->columns + 1) / 2, step = (in->channels + 3) / 4 * 8;
    /* The last four outputs of a row may read beyond the map. */
    int32_t reach = conv->stride * ((out->width + 3) / 4 * 4 - 1) + 2 * wide;
    int32_t length = in->width + 2 * conv->padding;
    length = ((reach > length ? reach : length) + 1) & ~1;
    maam_pair *pairs = (maam_pair *)(arena + layer->scratch_at);
    int16_t *line = (int16_t *)(pairs + in->channels * conv->rows * wide);
    int16_t *planes = line + (out->width + 1) / 2 * step;
    maam_target target = {0, in->zero, 0, out->channels, out->bytes};
    pair_weights(conv, first.weights, wide, pairs);
    memset(line, 0, (size_t)((out->width + 1) / 2 * step) * sizeof *line);
    for (int32_t i = 0; i < CHANNELS_AT_ONCE * conv->rows * length; i++) {
        planes[i] = (int16_t)in->zero;
    }
    for (int32_t row = 0; row < out->height; row++) {
        int32_t y = layer->backwards ? out->height - 1 - row : row;
        for (int32_t c = 0; c < in->channels; c += CHANNELS_AT_ONCE) {
            int32_t left = in->channels - c, count = left < 4 ? left : CHANNELS_AT_ONCE;
            fill_planes(in, source + c, conv, y, count, length, planes);
            for (int32_t k = c; k < c + count; k++) {
                const int16_t *plane = planes + (k - c) * conv->rows * length;
                const maam_pair *weights = pairs + k * conv->rows * wide;
                int16_t *into = line + place_of(k, 0);
                if (conv->rows == 5 && wide == 3 && conv->stride == 1) { /* known to the compiler */
                    depthwise(plane, length, weights, 5, 3, 1, out->width, &first, k, into, step);
                } else if (conv->rows == 5 && wide == 3 && conv->stride == 2) {
                    depthwise(plane, length, weights, 5, 3, 2, out->width, &first, k, into, step);
                } else {
                    depthwise(plane, length, weights, conv->rows, wide, conv->stride, out->width,
                              &first, k, into, step);
                }
            }
        }
        target.row = (int8_t *)(arena + out->at) + y * out->width * out->channels * out->bytes;
        target.residual = layer->residual ? source + y * in->width * in->channels : 0;
        multiply(&second, 0, out->channels, line, in->channels, out->width, &target);
    }
}

#endif
