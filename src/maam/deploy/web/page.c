/* What the page calls of the kernels, compiled to WebAssembly by `make wasm`, once for each precision:
 * RUN is maam_run_int8 or maam_run_float32.
 *
 * Behind the module's own data lie, each 16-byte aligned: the block of the model, which the page puts
 * there, the arena, the image, the probabilities and the class map. The page grows the memory. */
#include <stdint.h>
#include <string.h>

#include "maam_nn.h"

#define PAGE(name) __attribute__((export_name(#name)))

extern uint8_t __heap_base; /* the linker's: where the module's own data end */

static uintptr_t behind(uintptr_t place, int32_t bytes) {
    return (place + (uintptr_t)bytes + 15) & ~(uintptr_t)15;
}

PAGE(block_at) uintptr_t block_at(void) { return behind((uintptr_t)&__heap_base, 0); }

static const maam_model *model(void) { return (const maam_model *)block_at(); }

static uintptr_t arena_at(void) { return behind(block_at(), model()->bytes); }

PAGE(image_at) uintptr_t image_at(void) { return behind(arena_at(), model()->arena_bytes); }

static uintptr_t probabilities_at(void) {
    const maam_model *m = model();
    return behind(image_at(), m->height * m->width * m->channels);
}

static uintptr_t map_at(void) { return behind(probabilities_at(), model()->classes * 4); }

/* The map that maam_class_map reads; null if there is none. */
static const maam_map *last_map(void) {
    const maam_model *m = model();
    if (m->map_layer < 0) return 0;
    return &((const maam_layer *)(block_at() + (uintptr_t)m->layers_at))[m->map_layer].in;
}

PAGE(map_height) int32_t map_height(void) { return last_map() ? last_map()->height : 0; }

PAGE(map_width) int32_t map_width(void) { return last_map() ? last_map()->width : 0; }

/* How many bytes of memory all of it needs; the block is there. */
PAGE(memory_bytes) uintptr_t memory_bytes(void) {
    return behind(map_at(), map_height() * map_width() * 4);
}

/* Classify the image: where its probabilities, float32 (classes), lie; 0 if the block is of another
 * format or precision. */
PAGE(run) uintptr_t run(void) {
    void *arena = (void *)arena_at();
    if (!RUN(model(), (const uint8_t *)image_at(), arena)) return 0;
    maam_probabilities(model(), arena, (float *)probabilities_at());
    return probabilities_at();
}

/* Where the map of a class, float32 (height, width), lies; 0 if there is none. */
PAGE(class_map) uintptr_t class_map(int32_t which) {
    int done = maam_class_map(model(), (const void *)arena_at(), which, (float *)map_at());
    return done == 0 ? map_at() : 0;
}

/* no_builtin: else the compiler would make of each loop a call of the function itself. */
__attribute__((no_builtin)) void *memcpy(void *target, const void *source, size_t bytes) {
    uint8_t *to = target;
    const uint8_t *from = source;
    while (bytes--) *to++ = *from++;
    return target;
}

__attribute__((no_builtin)) void *memset(void *target, int value, size_t bytes) {
    uint8_t *to = target;
    while (bytes--) *to++ = (uint8_t)value;
    return target;
}
