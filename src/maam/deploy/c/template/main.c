/* Classify one image and print the likeliest classes. */
#include "board.h"
#include "maam_nn.h"
#include "model.h"

enum { SHOWN = MODEL_CLASSES < 5 ? MODEL_CLASSES : 5 };

static uint64_t arena[(MODEL_ARENA_BYTES + 7) / 8];
static float probabilities[MODEL_CLASSES];

/* Print a number with `digits` decimals. */
static void say_decimal(float value, int digits)
{
    char text[24];
    int at = (int)sizeof text - 1, negative = value < 0;
    float scaled = negative ? -value : value;
    for (int i = 0; i < digits; i++) {
        scaled *= 10.0f;
    }
    uint32_t number = (uint32_t)(scaled + 0.5f);
    text[at] = 0;
    for (int i = 0; number || i <= digits; i++) {
        if (i == digits && digits) {
            text[--at] = '.';
        }
        text[--at] = (char)('0' + (int)(number % 10));
        number /= 10;
    }
    if (negative) {
        text[--at] = '-';
    }
    board_say(text + at);
}

int main(int argc, char **argv)
{
    uint8_t *image = (uint8_t *)arena + MODEL_IMAGE_AT;
    if (board_image(argc, argv, image, MODEL_IMAGE_BYTES)) {
        return 2;
    }
    board_start();
    const MODEL_LOGIT *logits = MODEL_RUN(model_block, image, arena);
    board_stop();
    if (!logits) {
        board_say("the model does not fit the kernels\n");
        return 1;
    }
    maam_probabilities(model_block, arena, probabilities);
    for (int shown = 0; shown < SHOWN; shown++) {
        int best = 0;
        for (int k = 1; k < MODEL_CLASSES; k++) {
            best = probabilities[k] > probabilities[best] ? k : best;
        }
        say_decimal(100.0f * probabilities[best], 1);
        board_say(" %  ");
        board_say(model_classes[best]);
        board_say("  (logit ");
        say_decimal((float)logits[best] * MODEL_LOGIT_SCALE, 3);
        board_say(")\n");
        probabilities[best] = -1.0f;
    }
    return 0;
}
