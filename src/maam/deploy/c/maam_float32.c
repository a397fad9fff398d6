/* A network in floating point, layer by layer. */
#include "maam_nn.h"

#include <string.h>

/* So many channels of a pixel are summed at a time: their sums stay in registers. Each of them adds in
 * its own order, so that compilers may use vectors without -ffast-math. */
#define TILE 8

#ifdef __GNUC__ /* `count` is a constant once a function is part of its caller */
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* `count` channels, from `first` on, of a pixel (depth) times weights (depth, `outputs`). residual: the
 * pixel of the input that is added, or null. */
INLINE void product_tile(const float *weights, const float *bias, int32_t outputs, int32_t first,
                         int32_t count, const float *values, int32_t depth, int32_t relu,
                         const float *residual, float *target)
{
    float sums[TILE] = {0};
    weights += first;
    for (int32_t i = 0; i < depth; i++, weights += outputs) {
        float value = values[i];
        for (int32_t k = 0; k < count; k++) {
            sums[k] += value * weights[k];
        }
    }
    for (int32_t k = 0; k < count; k++) {
        float sum = sums[k] + bias[first + k];
        sum = relu && sum < 0 ? 0 : sum;
        target[first + k] = residual ? residual[first + k] + sum : sum;
    }
}

/* One pixel of a convolution, one group of channels. values: (depth), what its window holds. */
static void multiply(const uint8_t *block, const maam_conv *conv, int32_t group,
                     const float *values, int32_t depth, const float *residual, float *pixel)
{
    int32_t outputs = conv->outputs / conv->groups, begin = group * outputs;
    const float *weights = (const float *)(block + conv->weights_at) + begin * depth;
    const float *bias = (const float *)(block + conv->bias_at) + begin;
    int32_t o = 0;
    for (; o + TILE <= outputs; o += TILE) {
        product_tile(weights, bias, outputs, o, TILE, values, depth, conv->relu, residual,
                     pixel + begin);
    }
    for (; o < outputs; o++) {
        product_tile(weights, bias, outputs, o, 1, values, depth, conv->relu, residual,
                     pixel + begin);
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
    for (int32_t row = 0; row < out->height; row++) {
        int32_t y = layer->backwards ? out->height - 1 - row : row;
        for (int32_t x = 0; x < out->width; x++) {
            float *pixel = (float *)(arena + out->at) + (y * out->width + x) * out->channels;
            for (int32_t group = 0; group < conv->groups; group++) {
                const float *values = window(in, source, conv, group, y, x, patch);
                multiply(block, conv, group, values, depth, 0, pixel);
            }
        }
    }
}

/* `count` channels, from `first` on, of one pixel of a depthwise convolution. */
INLINE void depthwise_tile(const uint8_t *block, const maam_map *in, const float *source,
                           const maam_conv *conv, int32_t top, int32_t left, int32_t first,
                           int32_t count, float *target)
{
    const float *weights = (const float *)(block + conv->weights_at) + first;
    const float *bias = (const float *)(block + conv->bias_at) + first;
    int32_t channels = in->channels;
    int32_t begin = left < 0 ? -left : 0;
    int32_t end = left + conv->columns > in->width ? in->width - left : conv->columns;
    float sums[TILE] = {0};
    for (int32_t i = 0; i < conv->rows; i++) {
        if (top + i < 0 || top + i >= in->height) {
            continue;
        }
        const float *value = source + ((top + i) * in->width + left + begin) * channels + first;
        const float *weight = weights + (i * conv->columns + begin) * channels;
        for (int32_t j = begin; j < end; j++, value += channels, weight += channels) {
            for (int32_t c = 0; c < count; c++) {
                sums[c] += value[c] * weight[c];
            }
        }
    }
    for (int32_t c = 0; c < count; c++) {
        float sum = sums[c] + bias[c];
        target[first + c] = conv->relu && sum < 0 ? 0 : sum;
    }
}

/* One pixel of a depthwise convolution, all channels. */
static void depthwise(const uint8_t *block, const maam_map *in, const float *source,
                      const maam_conv *conv, int32_t y, int32_t x, float *target)
{
    int32_t top = y * conv->stride - conv->padding, left = x * conv->stride - conv->padding;
    int32_t c = 0;
    for (; c + TILE <= in->channels; c += TILE) {
        depthwise_tile(block, in, source, conv, top, left, c, TILE, target);
    }
    for (; c < in->channels; c++) {
        depthwise_tile(block, in, source, conv, top, left, c, 1, target);
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
            multiply(block, layer->conv + 1, 0, line + x * in->channels, in->channels,
                     layer->residual ? residual : 0, target + x * out->channels);
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
