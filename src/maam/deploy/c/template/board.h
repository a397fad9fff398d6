/* What the programs here ask of the machine they run on. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* Print a text. */
void board_say(const char *text);

/* Fill `image` (bytes) with the image to classify. Returns 0, or -1 after saying why not. */
int board_image(int argc, char **argv, uint8_t *image, uint32_t bytes);

/* Before and after what is measured; the second prints stack and time where they are known. */
void board_start(void);
void board_stop(void);

#endif
