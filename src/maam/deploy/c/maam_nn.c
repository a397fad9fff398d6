/* What comes after the logits: probabilities, and which pixels a class was seen in. */
#include "maam_nn.h"

#include <string.h>

/* 2^power, power in -126..127. */
static float power_of_two(int32_t power)
{
    uint32_t bits = (uint32_t)(power + 127) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* e^x for x <= 0, but for a relative error of 1e-6: x = power * ln 2 + rest. */
static float exponential(float x)
{
    if (x < -87.0f) {
        return 0.0f;
    }
    int32_t power = (int32_t)(x * 1.44269504f - 0.5f);
    float rest = (x - (float)power * 0.693359375f) + (float)power * 2.12194440e-4f;
    float sum = 1.0f / 720.0f;
    sum = sum * rest + 1.0f / 120.0f;
    sum = sum * rest + 1.0f / 24.0f;
    sum = sum * rest + 1.0f / 6.0f;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    return sum * power_of_two(power);
}

void maam_probabilities(const void *model, const void *arena, float *probabilities)
{
    const maam_model *head = model;
    const uint8_t *logits = (const uint8_t *)arena + head->logits_at;
    float largest = -3.4e38f, total = 0.0f;
    for (int32_t k = 0; k < head->classes; k++) {
        if (head->precision == MAAM_INT8) {
            probabilities[k] = (float)((const int16_t *)logits)[k] * head->logit_scale;
        } else {
            probabilities[k] = ((const float *)logits)[k];
        }
        if (probabilities[k] > largest) {
            largest = probabilities[k];
        }
    }
    for (int32_t k = 0; k < head->classes; k++) {
        probabilities[k] = exponential(probabilities[k] - largest);
        total += probabilities[k];
    }
    for (int32_t k = 0; k < head->classes; k++) {
        probabilities[k] /= total;
    }
}

int maam_class_map(const void *model, const void *arena, int32_t which, float *map)
{
    const maam_model *head = model;
    const uint8_t *block = model;
    const maam_layer *layers = (const maam_layer *)(block + head->layers_at);
    if (head->map_layer < 0 || which < 0 || which >= head->classes) {
        return -1;
    }
    const maam_layer *mean = layers + head->map_layer;
    const maam_conv *dense = layers[head->layers - 1].conv;
    const uint8_t *values = (const uint8_t *)arena + mean->in.at;
    int32_t pixels = mean->in.height * mean->in.width, channels = mean->in.channels;
    if (head->precision == MAAM_FLOAT32) {
        const float *x = (const float *)values;
        const float *weights = (const float *)(block + dense->weights_at) + which;
        for (int32_t i = 0; i < pixels; i++) {
            map[i] = 0.0f;
            for (int32_t c = 0; c < channels; c++) {
                map[i] += x[i * channels + c] * weights[c * head->classes];
            }
        }
        return 0;
    }
    const int8_t *x = (const int8_t *)values;
    const int8_t *weights = (const int8_t *)(block + dense->weights_at) + which * channels;
    int32_t multiplier = ((const int32_t *)(block + dense->multiplier_at))[which];
    int32_t shift = (block + dense->shift_at)[which];
    /* From a sum over the map to one of the mean, from that to the logit. */
    float unit = (float)mean->multiplier * power_of_two(-mean->shift) * (float)pixels;
    unit *= (float)multiplier * power_of_two(-shift) * head->logit_scale;
    for (int32_t i = 0; i < pixels; i++) {
        int32_t sum = 0;
        for (int32_t c = 0; c < channels; c++) {
            sum += (x[i * channels + c] - mean->in.zero) * weights[c];
        }
        map[i] = (float)sum * unit;
    }
    return 0;
}
