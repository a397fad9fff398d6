/* Answers images for a test: driver BLOCK IMAGES OUT. Writes OUT.logits, OUT.probabilities and, for
 * class (number of the image) % classes, OUT.maps. Block and arena have exactly their size, so that
 * AddressSanitizer sees whatever reads or writes beyond them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "maam_nn.h"

static long size_of(FILE *file)
{
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    return size;
}

static void *read_file(const char *path, long *size)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(2);
    }
    *size = size_of(file);
    void *content = malloc((size_t)*size);
    if (fread(content, 1, (size_t)*size, file) != (size_t)*size) {
        exit(2);
    }
    fclose(file);
    return content;
}

static FILE *create(const char *stem, const char *suffix)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s", stem, suffix);
    return fopen(path, "wb");
}

static const void *run(const void *block, const uint8_t *image, void *arena)
{
#ifdef FLOAT32
    return maam_run_float32(block, image, arena);
#else
    return maam_run_int8(block, image, arena);
#endif
}

int main(int argc, char **argv)
{
    long block_size, images_size;
    if (argc != 4) {
        return 2;
    }
    void *block = read_file(argv[1], &block_size);
    uint8_t *images = read_file(argv[2], &images_size);
    const maam_model *head = block;
    const maam_layer *layers = (const maam_layer *)((const uint8_t *)block + head->layers_at);
    long bytes = (long)head->height * head->width * head->channels;
    uint8_t *arena = malloc((size_t)head->arena_bytes);
    size_t width = head->precision == MAAM_INT8 ? 2 : 4, logits_size = head->classes * width;
    float *probabilities = malloc((size_t)head->classes * sizeof(float));
    size_t pixels = 0;
    float *map = 0;
    if (head->map_layer >= 0) {
        const maam_map *in = &layers[head->map_layer].in;
        pixels = (size_t)in->height * (size_t)in->width;
        map = malloc(pixels * sizeof(float));
    }
    FILE *logits_file = create(argv[3], ".logits"), *maps_file = create(argv[3], ".maps");
    FILE *probabilities_file = create(argv[3], ".probabilities");
    int32_t number = 0;
    for (uint8_t *image = images; image < images + images_size; image += bytes, number++) {
        memset(arena, 0xA5, (size_t)head->arena_bytes);
        uint8_t *inside = arena + head->image_at;
        memcpy(inside, image, (size_t)bytes);
        const void *logits = run(block, number % 2 ? inside : image, arena);
        if (!logits) {
            fputs("refused\n", stderr);
            exit(3);
        }
        fwrite(logits, 1, logits_size, logits_file);
        maam_probabilities(block, arena, probabilities);
        fwrite(probabilities, sizeof(float), (size_t)head->classes, probabilities_file);
        if (!maam_class_map(block, arena, number % head->classes, map)) {
            fwrite(map, sizeof(float), pixels, maps_file);
        }
    }
    fclose(logits_file);
    fclose(maps_file);
    fclose(probabilities_file);
    free(map);
    free(probabilities);
    free(arena);
    free(images);
    free(block);
    return 0;
}
