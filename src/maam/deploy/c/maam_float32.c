/* A network in floating point, layer by layer. */
#include "maam_nn.h"

#include <string.h>

/* Four sums of products of `values` with four rows of weights; steps of a row: `depth`. */
static void products(const float *weights, int32_t depth, const float *values, float *sums)
{
    float a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    const float *second = weights + depth, *third = second + depth, *fourth = third + depth;
    for (int32_t i = 0; i < depth; i++) {
        float value = values[i];
        a += value * weights[i];
        b += value * second[i];
        c += value * third[i];
        d += value * fourth[i];
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

/* Outputs `begin` to `end` of one pixel. residual: the pixel of the input that is added, or null. */
static void multiply(const uint8_t *block, const maam_conv *conv, int32_t begin, int32_t end,
                     const float *values, int32_t depth, const float *residual, float *pixel)
{
    const float *weights = (const float *)(block + conv->weights_at);
    const float *bias = (const float *)(block + conv->bias_at);
    for (int32_t o = begin; o < end;) {
        int32_t count = end - o < 4 ? 1 : 4;
        float sums[4] = {0, 0, 0, 0};
        if (count == 4) {
            products(weights + o * depth, depth, values, sums);
        } else {
            for (int32_t i = 0; i < depth; i++) {
                sums[0] += values[i] * weights[o * depth + i];
            }
        }
        for (int32_t k = 0; k < count; k++, o++) {
            float sum = sums[k] + bias[o];
            sum = conv->relu && sum < 0 ? 0 : sum;
            pixel[o] = residual ? residual[o] + sum : sum;
        }
    }
}

/* The values under the window for pixel (y, x) of the output, one group of channels: where they lie
 * in a row, or copied to `patch`. */
static const float *window(const maam_map *in, const float *source, const maam_conv *conv,
                           int32_t group, int32_t y, int32_t x, float *patch)
{
    int32_t depth = in->channels / conv->groups;
    int32_t top = y * conv->stride - conv->padding, left = x * conv->stride - conv->padding;
    float *target = patch;
    if (conv->groups == 1 && !conv->padding && (conv->rows == 1 || conv->columns == in->width)) {
        return source + (top * in->width + left) * depth;
    }
    for (int32_t i = top; i < top + conv->rows; i++) {
        for (int32_t j = left; j < left + conv->columns; j++, target += depth) {
            if (i < 0 || i >= in->height || j < 0 || j >= in->width) {
                memset(target, 0, (size_t)depth * sizeof *target);
            } else {
                const float *pixel = source + (i * in->width + j) * in->channels;
                memcpy(target, pixel + group * depth, (size_t)depth * sizeof *target);
            }
        }
    }
    return patch;
}

static void convolution(const uint8_t *block, const maam_layer *layer, uint8_t *arena)
{
    const maam_conv *conv = layer->conv;
    const maam_map *in = &layer->in, *out = &layer->out;
    const float *source = (const float *)(arena + in->at);
    float *patch = (float *)(arena + layer->scratch_at);
    int32_t depth = conv->rows * conv->columns * (in->channels / conv->groups);
    int32_t each = conv->outputs / conv->groups;
    for (int32_t row = 0; row < out->height; row++) {
        int32_t y = layer->backwards ? out->height - 1 - row : row;
        for (int32_t x = 0; x < out->width; x++) {
            float *pixel = (float *)(arena + out->at) + (y * out->width + x) * out->channels;
            for (int32_t group = 0; group < conv->groups; group++) {
                const float *values = window(in, source, conv, group, y, x, patch);
                int32_t begin = group * each;
                multiply(block, conv, begin, begin + each, values, depth, 0, pixel);
            }
        }
    }
}

/* One pixel of a depthwise convolution, all channels. */
static void depthwise(const uint8_t *block, const maam_map *in, const float *source,
                      const maam_conv *conv, int32_t y, int32_t x, float *sums)
{
    int32_t channels = in->channels;
    int32_t top = y * conv->stride - conv->padding, left = x * conv->stride - conv->padding;
    const float *weights = (const float *)(block + conv->weights_at);
    memcpy(sums, block + conv->bias_at, (size_t)channels * sizeof *sums);
    for (int32_t i = top; i < top + conv->rows; i++) {
        for (int32_t j = left; j < left + conv->columns; j++, weights += channels) {
            if (i < 0 || i >= in->height || j < 0 || j >= in->width) {
                continue;
            }
            const float *values = source + (i * in->width + j) * channels;
            for (int32_t c = 0; c < channels; c++) {
                sums[c] += values[c] * weights[c];
            }
        }
    }
    for (int32_t c = 0; c < channels; c++) {
        sums[c] = conv->relu && sums[c] < 0 ? 0 : sums[c];
    }
}

static void block_of_two(const uint8_t *block, const maam_layer *layer, uint8_t *arena)
{
    const maam_map *in = &layer->in, *out = &layer->out;
    const float *source = (const float *)(arena + in->at);
    float *line = (float *)(arena + layer->scratch_at);
    for (int32_t row = 0; row < out->height; row++) {
        int32_t y = layer->backwards ? out->height - 1 - row : row;
        float *target = (float *)(arena + out->at) + y * out->width * out->channels;
        for (int32_t x = 0; x < out->width; x++) {
            depthwise(block, in, source, layer->conv, y, x, line + x * in->channels);
        }
        for (int32_t x = 0; x < out->width; x++) {
            const float *residual = source + (y * in->width + x) * in->channels;
            multiply(block, layer->conv + 1, 0, out->channels, line + x * in->channels,
                     in->channels, layer->residual ? residual : 0, target + x * out->channels);
        }
    }
}

static void pool(const maam_layer *layer, uint8_t *arena)
{
    const maam_map *in = &layer->in, *out = &layer->out;
    const float *source = (const float *)(arena + in->at);
    float *target = (float *)(arena + out->at);
    int32_t channels = in->channels, line = in->width * channels;
    for (int32_t row = 0; row < out->height; row++) {
        int32_t y = layer->backwards ? out->height - 1 - row : row;
        for (int32_t x = 0; x < out->width; x++) {
            const float *values = source + 2 * y * line + 2 * x * channels;
            float *pixel = target + (y * out->width + x) * channels;
            for (int32_t c = 0; c < channels; c++) {
                float a = values[c], b = values[c + channels];
                float d = values[c + line], e = values[c + line + channels];
                a = a > b ? a : b;
                d = d > e ? d : e;
                pixel[c] = a > d ? a : d;
            }
        }
    }
}

/* The sum of all groups of `channels` channels of a map, in one of its pixels. */
static float sum_groups(const maam_map *map, const uint8_t *arena, int32_t pixel, int32_t channel,
                        int32_t channels)
{
    const float *values = (const float *)(arena + map->at) + pixel * map->channels;
    float sum = 0;
    for (int32_t c = channel; c < map->channels; c += channels) {
        sum += values[c];
    }
    return sum;
}

static void sum_maps(const uint8_t *block, const maam_layer *layer, uint8_t *arena)
{
    const maam_map *out = &layer->out;
    const maam_map *more = (const maam_map *)(block + layer->more_at);
    float *target = (float *)(arena + out->at);
    for (int32_t pixel = 0; pixel < out->height * out->width; pixel++) {
        for (int32_t c = 0; c < out->channels; c++) {
            float sum = sum_groups(&layer->in, arena, pixel, c, out->channels);
            for (int32_t i = 0; i < layer->more; i++) {
                sum += sum_groups(more + i, arena, pixel, c, out->channels);
            }
            *target++ = sum;
        }
    }
}

static void mean(const maam_layer *layer, uint8_t *arena)
{
    const maam_map *in = &layer->in;
    const float *source = (const float *)(arena + in->at);
    float *target = (float *)(arena + layer->out.at);
    int32_t pixels = in->height * in->width;
    for (int32_t c = 0; c < in->channels; c++) {
        float sum = 0;
        for (int32_t i = 0; i < pixels; i++) {
            sum += source[i * in->channels + c];
        }
        target[c] = sum / (float)pixels;
    }
}

const float *maam_run_float32(const void *model, const uint8_t *image, void *arena)
{
    const maam_model *head = model;
    const uint8_t *block = model;
    const maam_layer *layer = (const maam_layer *)(block + head->layers_at);
    const float *scale = (const float *)(block + head->pixels_at);
    uint8_t *bytes = arena;
    float *first = (float *)(bytes + head->image_at);
    if (head->format != MAAM_FORMAT || head->precision != MAAM_FLOAT32) {
        return 0;
    }
    /* From the end, as the image may lie where its four times larger map begins. */
    for (int32_t i = head->height * head->width * head->channels - 1; i >= 0; i--) {
        int32_t c = i % head->channels;
        float value = (float)image[i] * scale[c] - scale[head->channels + c];
        memcpy(first + i, &value, sizeof value);
    }
    for (int32_t i = 0; i < head->layers; i++, layer++) {
        switch (layer->kind) {
        case MAAM_CONV:
            convolution(block, layer, bytes);
            break;
        case MAAM_BLOCK:
            block_of_two(block, layer, bytes);
            break;
        case MAAM_POOL:
            pool(layer, bytes);
            break;
        case MAAM_SUM:
            sum_maps(block, layer, bytes);
            break;
        default:
            mean(layer, bytes);
        }
    }
    return (const float *)(bytes + head->logits_at);
}
