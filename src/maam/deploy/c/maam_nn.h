/* A trained image classifier in plain C99: no heap, no libm, no pointers in its data.
 *
 * A model is one constant block of bytes, 4-byte aligned, little-endian:
 *
 *     maam_model | maam_layer[layers] | weights
 *
 * A field that ends in `_at` is a number of bytes: from the start of the block for what is constant,
 * from the start of the arena for what is computed. So the block lies wherever it likes: in flash,
 * in a file, in the memory of a WebAssembly module.
 *
 * Maps are channels-last: value (y, x, c) of a map is number (y * width + x) * channels + c.
 */
#ifndef MAAM_NN_H
#define MAAM_NN_H

#include <stdint.h>

#define MAAM_FORMAT 0x316E6E6D /* "mnn1" */

enum { MAAM_FLOAT32 = 0, MAAM_INT8 = 1 };

/* What a layer does.
 * CONV: a convolution; a dense layer is one whose window is the whole map.
 * BLOCK: a depthwise convolution, then a 1x1 convolution; its input is added if `residual`.
 * POOL: the largest of each 2x2 window; an odd last row or column is left out.
 * SUM: all inputs, and in each all groups of out.channels channels, added up.
 * MEAN: over height and width. */
enum { MAAM_CONV = 0, MAAM_BLOCK = 1, MAAM_POOL = 2, MAAM_SUM = 3, MAAM_MEAN = 4 };

/* A map in the arena. */
typedef struct {
    int32_t at;     /* in the arena */
    int32_t height; /* pixels */
    int32_t width;
    int32_t channels;
    int32_t bytes;  /* of a value: 1 int8, 2 int16 (logits only), 4 float32 */
    int32_t zero;   /* int8: the number that stands for 0 */
} maam_map;

/* A convolution. The weights are int8 (outputs, rows, columns, inputs / groups) or float32 (groups,
 * rows, columns, inputs / groups, outputs / groups); those of the depthwise convolution of a BLOCK
 * are (rows, columns, outputs). Around the map stand `padding` zeros.
 * int8: a sum of products and bias becomes zero + ((sum * multiplier + 2^(shift-1)) >> shift). */
typedef struct {
    int32_t rows; /* of the window */
    int32_t columns;
    int32_t stride;
    int32_t padding;
    int32_t groups;
    int32_t outputs;       /* channels */
    int32_t relu;          /* float32: negative values become 0 (int8: clamping does it) */
    int32_t zero;          /* int8: of what it makes */
    int32_t weights_at;    /* int8 or float32 */
    int32_t bias_at;       /* int32 or float32 (outputs) */
    int32_t multiplier_at; /* int8: int32 (outputs) */
    int32_t shift_at;      /* int8: uint8 (outputs), 1 to 62 */
    int32_t residual_at;   /* int8: int32 (outputs), or 0: nothing is added */
} maam_conv;

/* A layer: it makes `out` from `in`, and a SUM from further maps too. */
typedef struct {
    int32_t kind;
    int32_t residual;   /* BLOCK: add the input */
    int32_t backwards;  /* rows are computed from the last to the first, so that `out` may overlap */
    int32_t more;       /* SUM: how many further maps it reads */
    int32_t more_at;    /* SUM: maam_map[more] */
    int32_t scratch_at; /* in the arena */
    int32_t multiplier; /* int8: of SUM and MEAN */
    int32_t shift;
    maam_map in;
    maam_map out;
    maam_conv conv[2]; /* CONV: the first; BLOCK: both */
} maam_layer;

typedef struct {
    int32_t format;    /* MAAM_FORMAT */
    int32_t bytes;     /* of the whole block */
    int32_t precision; /* MAAM_FLOAT32 or MAAM_INT8 */
    int32_t height;    /* of the image, uint8 (height, width, channels) */
    int32_t width;
    int32_t channels;
    int32_t classes;
    int32_t layers;
    int32_t layers_at;   /* maam_layer[layers] */
    int32_t pixels_at;   /* int8 (channels, 256): the number for each value of a pixel;
                            float32 (2, channels): value * the first row - the second */
    int32_t arena_bytes;
    int32_t image_at;    /* in the arena: where the image may be put, so as to need no other RAM */
    int32_t logits_at;   /* in the arena: int16 or float32 (classes) */
    int32_t map_layer;   /* the MEAN whose input stays in the arena for maam_class_map; -1: none */
    float logit_scale;   /* what one unit of a logit stands for; float32: 1 */
} maam_model;

/* Classify one image.
 * model: the block. image: uint8 (height, width, channels), RGB or grey; it may lie in the arena at
 * image_at. arena: arena_bytes bytes, 8-byte aligned.
 * Returns the logits, which lie in the arena; a null pointer if the model is of another format or
 * precision. */
const int16_t *maam_run_int8(const void *model, const uint8_t *image, void *arena);
const float *maam_run_float32(const void *model, const uint8_t *image, void *arena);

/* The probabilities (classes) of the logits that lie in the arena. */
void maam_probabilities(const void *model, const void *arena, float *probabilities);

/* What each pixel of the last map adds to the logit of class `which`: float32 (height, width) of
 * that map; its mean is the logit without its bias. Call it after a run.
 * Returns 0; -1 if the network has no such map, and then writes nothing. */
int maam_class_map(const void *model, const void *arena, int32_t which, float *map);

#endif
