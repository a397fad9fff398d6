/* A network in integers, layer by layer; it computes what maam's reference in NumPy does, bit by
 * bit. */
#include "maam_int8.h"

#if defined(__ARM_FEATURE_DSP) || defined(MAAM_DSP_EMULATED)
#include "maam_int8_dsp.h"
#else
#include "maam_int8_plain.h"
#endif

static void pool(const maam_layer *layer, uint8_t *arena)
{
    const maam_map *in = &layer->in, *out = &layer->out;
    const int8_t *source = (const int8_t *)(arena + in->at);
    int8_t *target = (int8_t *)(arena + out->at);
    int32_t channels = in->channels, line = in->width * channels;
    for (int32_t row = 0; row < out->height; row++) {
        int32_t y = layer->backwards ? out->height - 1 - row : row;
        for (int32_t x = 0; x < out->width; x++) {
            const int8_t *values = source + 2 * y * line + 2 * x * channels;
            int8_t *pixel = target + (y * out->width + x) * channels;
            for (int32_t c = 0; c < channels; c++) {
                int8_t a = values[c], b = values[c + channels];
                int8_t d = values[c + line], e = values[c + line + channels];
                a = a > b ? a : b;
                d = d > e ? d : e;
                pixel[c] = a > d ? a : d;
            }
        }
    }
}

/* The sum of all groups of `channels` channels of a map, in one of its pixels. */
static int32_t sum_groups(const maam_map *map, const uint8_t *arena, int32_t pixel, int32_t channel,
                          int32_t channels)
{
    const int8_t *values = (const int8_t *)(arena + map->at) + pixel * map->channels;
    int32_t sum = 0;
    for (int32_t c = channel; c < map->channels; c += channels) {
        sum += values[c] - map->zero;
    }
    return sum;
}

static void sum_maps(const uint8_t *block, const maam_layer *layer, uint8_t *arena)
{
    const maam_map *out = &layer->out;
    const maam_map *more = (const maam_map *)(block + layer->more_at);
    int8_t *target = (int8_t *)(arena + out->at);
    for (int32_t pixel = 0; pixel < out->height * out->width; pixel++) {
        for (int32_t c = 0; c < out->channels; c++) {
            int32_t sum = sum_groups(&layer->in, arena, pixel, c, out->channels);
            for (int32_t i = 0; i < layer->more; i++) {
                sum += sum_groups(more + i, arena, pixel, c, out->channels);
            }
            sum = maam_scaled(sum, layer->multiplier, layer->shift);
            maam_store(target, 1, pixel * out->channels + c, out->zero + sum);
        }
    }
}

static void mean(const maam_layer *layer, uint8_t *arena)
{
    const maam_map *in = &layer->in, *out = &layer->out;
    const int8_t *source = (const int8_t *)(arena + in->at);
    int32_t count = in->height * in->width * in->channels;
    for (int32_t c = 0; c < in->channels; c++) {
        int32_t sum = 0;
        for (int32_t i = c; i < count; i += in->channels) {
            sum += source[i] - in->zero;
        }
        sum = maam_scaled(sum, layer->multiplier, layer->shift);
        maam_store((int8_t *)(arena + out->at), 1, c, out->zero + sum);
    }
}

const int16_t *maam_run_int8(const void *model, const uint8_t *image, void *arena)
{
    const maam_model *head = model;
    const uint8_t *block = model;
    const maam_layer *layer = (const maam_layer *)(block + head->layers_at);
    const int8_t *numbers = (const int8_t *)(block + head->pixels_at);
    uint8_t *bytes = arena;
    int8_t *first = (int8_t *)(bytes + head->image_at);
    if (head->format != MAAM_FORMAT || head->precision != MAAM_INT8) {
        return 0;
    }
    for (int32_t i = 0, c = 0; i < head->height * head->width * head->channels; i++) {
        first[i] = numbers[c * 256 + image[i]];
        c = c + 1 < head->channels ? c + 1 : 0;
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
    return (const int16_t *)(bytes + head->logits_at);
}
