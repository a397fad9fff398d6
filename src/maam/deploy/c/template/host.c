/* A computer: the image is a file of raw bytes, or standard input. */
#include <stdio.h>

#include "board.h"
#include "model.h"

void board_say(const char *text)
{
    fputs(text, stdout);
}

int board_image(int argc, char **argv, uint8_t *image, uint32_t bytes)
{
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : stdin;
    if (!file) {
        fprintf(stderr, "cannot open %s\n", argv[1]);
        return -1;
    }
    size_t count = fread(image, 1, bytes, file);
    int more = count == bytes && fgetc(file) != EOF;
    if (file != stdin) {
        fclose(file);
    }
    if (count != bytes || more) {
        fprintf(stderr,
                "the image must have exactly %lu bytes: uint8, height %d, width %d, channels %d\n",
                (unsigned long)bytes, MODEL_HEIGHT, MODEL_WIDTH, MODEL_CHANNELS);
        return -1;
    }
    return 0;
}

void board_start(void)
{
}

void board_stop(void)
{
}
