/* What the kernels need of string.h; page.c defines it, for WebAssembly has no C library. */
#ifndef PAGE_STRING_H
#define PAGE_STRING_H

#include <stddef.h>

void *memcpy(void *target, const void *source, size_t bytes);
void *memset(void *target, int value, size_t bytes);

#endif
