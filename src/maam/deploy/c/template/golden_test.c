/* Does this machine compute what maam did? It answers images whose logits are known. */
#include "board.h"
#include "golden.h"
#include "maam_nn.h"
#include "model.h"

static uint64_t arena[(MODEL_ARENA_BYTES + 7) / 8];

int main(void)
{
    int wrong = 0;
    for (int i = 0; i < GOLDEN_IMAGES; i++) {
        const MODEL_LOGIT *logits = MODEL_RUN(model_block, golden_images[i], arena);
        int same = logits != 0;
        for (int k = 0; same && k < MODEL_CLASSES; k++) {
            float difference = (float)logits[k] - (float)golden_logits[i][k];
            same = difference <= GOLDEN_TOLERANCE && difference >= -GOLDEN_TOLERANCE;
        }
        wrong += !same;
    }
    board_say(wrong ? "golden images: wrong logits\n" : "golden images: as expected\n");
    return wrong != 0;
}
