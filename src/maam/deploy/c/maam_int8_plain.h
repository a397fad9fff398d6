/* Convolutions in int8 in plain C, which compilers turn into vectors where there are any. */
#ifndef MAAM_INT8_PLAIN_H
#define MAAM_INT8_PLAIN_H

#include <string.h>

#include "maam_int8.h"

/* The values under the window for pixel (y, x) of the output, one group of channels: where they lie
 * in a row, or copied to `patch`. */
static const int8_t *window(const maam_map *in, const int8_t *source, const maam_conv *conv,
                            int32_t group, int32_t y, int32_t x, int8_t *patch)
{
    int32_t depth = in->channels / conv->groups;
    int32_t top = y * conv->stride - conv->padding, left = x * conv->stride - conv->padding;
    int8_t *target = patch;
    if (conv->groups == 1 && !conv->padding && (conv->rows == 1 || conv->columns == in->width)) {
        return source + (top * in->width + left) * depth;
    }
    for (int32_t i = top; i < top + conv->rows; i++) {
        for (int32_t j = left; j < left + conv->columns; j++, target += depth) {
            if (i < 0 || i >= in->height || j < 0 || j >= in->width) {
                memset(target, in->zero, (size_t)depth);
            } else {
                const int8_t *pixel = source + (i * in->width + j) * in->channels;
                memcpy(target, pixel + group * depth, (size_t)depth);
            }
        }
    }
    return patch;
}

/* Outputs `begin` to `end` of one pixel: products of `values` (depth) with rows of weights.
 * residual: the pixel of the input that is added, or null. */
static void multiply(const maam_numbers *numbers, int32_t begin, int32_t end, const int8_t *values,
                     int32_t depth, const int8_t *residual, int32_t residual_zero, int8_t *pixel,
                     int32_t bytes)
{
    for (int32_t o = begin; o < end; o++) {
        const int8_t *weights = numbers->weights + o * depth;
        int32_t sum = 0;
        for (int32_t i = 0; i < depth; i++) {
            sum += values[i] * weights[i];
        }
        sum += numbers->bias[o];
        if (residual) {
            sum += maam_residual(residual[o] - residual_zero, numbers->residual[o]);
        }
        sum = maam_scaled(sum, numbers->multiplier[o], numbers->shift[o]);
        maam_store(pixel, bytes, o, numbers->zero + sum);
    }
}

static void convolution(const uint8_t *block, const maam_layer *layer, uint8_t *arena)
{
    const maam_conv *conv = layer->conv;
    const maam_map *in = &layer->in, *out = &layer->out;
    maam_numbers numbers = maam_numbers_of(block, conv);
    const int8_t *source = (const int8_t *)(arena + in->at);
    int8_t *patch = (int8_t *)(arena + layer->scratch_at);
    int32_t depth = conv->rows * conv->columns * (in->channels / conv->groups);
    int32_t each = conv->outputs / conv->groups;
    for (int32_t row = 0; row < out->height; row++) {
        int32_t y = layer->backwards ? out->height - 1 - row : row;
        for (int32_t x = 0; x < out->width; x++) {
            int32_t place = (y * out->width + x) * out->channels * out->bytes;
            int8_t *pixel = (int8_t *)(arena + out->at) + place;
            for (int32_t group = 0; group < conv->groups; group++) {
                const int8_t *values = window(in, source, conv, group, y, x, patch);
                int32_t begin = group * each;
                multiply(&numbers, begin, begin + each, values, depth, 0, 0, pixel, out->bytes);
            }
        }
    }
}

/* One pixel of a depthwise convolution, all channels. sums: int32 (channels), scratch. */
static void depthwise(const maam_numbers *numbers, const maam_map *in, const int8_t *source,
                      const maam_conv *conv, int32_t y, int32_t x, int32_t *sums, int8_t *pixel)
{
    int32_t channels = in->channels;
    int32_t top = y * conv->stride - conv->padding, left = x * conv->stride - conv->padding;
    const int8_t *weights = numbers->weights;
    memcpy(sums, numbers->bias, (size_t)channels * sizeof *sums);
    for (int32_t i = top; i < top + conv->rows; i++) {
        for (int32_t j = left; j < left + conv->columns; j++, weights += channels) {
            if (i < 0 || i >= in->height || j < 0 || j >= in->width) {
                for (int32_t c = 0; c < channels && in->zero; c++) {
                    sums[c] += in->zero * weights[c];
                }
            } else {
                const int8_t *values = source + (i * in->width + j) * channels;
                for (int32_t c = 0; c < channels; c++) {
                    sums[c] += values[c] * weights[c];
                }
            }
        }
    }
    for (int32_t c = 0; c < channels; c++) {
        int32_t sum = maam_scaled(sums[c], numbers->multiplier[c], numbers->shift[c]);
        pixel[c] = (int8_t)maam_clamp(numbers->zero + sum, -128, 127);
    }
}

static void block_of_two(const uint8_t *block, const maam_layer *layer, uint8_t *arena)
{
    const maam_map *in = &layer->in, *out = &layer->out;
    maam_numbers first = maam_numbers_of(block, layer->conv);
    maam_numbers second = maam_numbers_of(block, layer->conv + 1);
    const int8_t *source = (const int8_t *)(arena + in->at);
    int32_t *sums = (int32_t *)(arena + layer->scratch_at);
    int8_t *line = (int8_t *)(sums + in->channels);
    for (int32_t row = 0; row < out->height; row++) {
        int32_t y = layer->backwards ? out->height - 1 - row : row;
        int8_t *target = (int8_t *)(arena + out->at) + y * out->width * out->channels * out->bytes;
        for (int32_t x = 0; x < out->width; x++) {
            depthwise(&first, in, source, layer->conv, y, x, sums, line + x * in->channels);
        }
        for (int32_t x = 0; x < out->width; x++) {
            const int8_t *residual = source + (y * in->width + x) * in->channels;
            multiply(&second, 0, out->channels, line + x * in->channels, in->channels,
                     layer->residual ? residual : 0, in->zero,
                     target + x * out->channels * out->bytes, out->bytes);
        }
    }
}

#endif
