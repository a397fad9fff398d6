"""The text of the C files that are written for each model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from maam.deploy.c.block import FORMAT, KINDS, Block, LayerRecord

_WIDTH = 100
TOLERANCE = {"int8": 0.0, "float32": 1e-4}


def model_header(block: Block, title: str) -> str:
    """The text of model.h.

    Args:
        block: the network.
        title: what stands in the first line, such as the model's name.
    """
    head = block.head
    int8 = block.precision == "int8"
    image = head["height"] * head["width"] * head["channels"]
    return f"""/* {_comment(title)} */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#define MODEL_HEIGHT {head["height"]} /* of the image: uint8 (height, width, channels) */
#define MODEL_WIDTH {head["width"]}
#define MODEL_CHANNELS {head["channels"]}
#define MODEL_IMAGE_BYTES {image}
#define MODEL_CLASSES {head["classes"]}
#define MODEL_ARENA_BYTES {head["arena_bytes"]} /* 8-byte aligned */
#define MODEL_IMAGE_AT {head["image_at"]} /* in the arena: where the image may be put */
#define MODEL_RUN maam_run_{block.precision}
#define MODEL_LOGIT {"int16_t" if int8 else "float"}
#define MODEL_LOGIT_SCALE {_float(block.logit_scale)} /* what one unit of a logit stands for */

extern const void *const model_block; /* for MODEL_RUN */
extern const char *const model_classes[MODEL_CLASSES];

#endif
"""


def model_source(block: Block, title: str, classes: Sequence[str]) -> str:
    """The text of model.c.

    Args:
        block: the network.
        title: what stands in the first line.
        classes: names, in the order of the logits.
    """
    head = dict(block.head)
    assert head.pop("format") == FORMAT
    words = np.frombuffer(block.weights, "<u4").tolist()
    layers = "\n".join(_layer(number, each) for number, each in enumerate(block.layers))
    names = ",\n".join(f"    {c_string(name)}" for name in classes)
    scale = _float(block.logit_scale)
    return f"""/* {_comment(title)} */
#include "model.h"

#include "maam_nn.h"

/* For processors that keep the low byte first. */
static const struct {{
    maam_model head;
    maam_layer layers[{len(block.layers)}];
    uint32_t weights[{len(words)}];
}} block = {{
    {{.format = MAAM_FORMAT, {_fields(head)}, .logit_scale = {scale}}},
    {{
{layers}
    }},
    {{
{_lines(f"0x{word:x}" for word in words)}
    }},
}};

typedef char no_gaps_in_block[sizeof block == {head["bytes"]} ? 1 : -1];

const void *const model_block = &block;

const char *const model_classes[MODEL_CLASSES] = {{
{names},
}};
"""


def golden_header(block: Block, count: int) -> str:
    """The text of golden.h.

    Args:
        block: the network.
        count: of golden images.
    """
    return f"""/* Images, and the logits that maam computes for them. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "model.h"

#define GOLDEN_IMAGES {count}
#define GOLDEN_TOLERANCE {_float(TOLERANCE[block.precision])}

extern const uint8_t example_image[MODEL_IMAGE_BYTES]; /* the first of them */
extern const uint8_t golden_images[GOLDEN_IMAGES][MODEL_IMAGE_BYTES];
extern const MODEL_LOGIT golden_logits[GOLDEN_IMAGES][MODEL_CLASSES];

#endif
"""


def golden_source(images: np.ndarray, logits: np.ndarray) -> str:
    """The text of golden.c.

    Args:
        images: uint8 (N, H, W, C).
        logits: int16 or float32 (N, K).
    """
    rows = [_lines(map(str, image.reshape(-1).tolist())) for image in images]
    write = str if logits.dtype.kind == "i" else _float
    expected = [_lines(write(value) for value in row.tolist()) for row in logits]
    all_images = ",\n".join(f"    {{\n{row}\n    }}" for row in rows)
    all_logits = ",\n".join(f"    {{\n{row}\n    }}" for row in expected)
    return f"""#include "golden.h"

const uint8_t example_image[MODEL_IMAGE_BYTES] = {{
{rows[0]}
}};

const uint8_t golden_images[GOLDEN_IMAGES][MODEL_IMAGE_BYTES] = {{
{all_images}
}};

const MODEL_LOGIT golden_logits[GOLDEN_IMAGES][MODEL_CLASSES] = {{
{all_logits}
}};
"""


def c_string(text: str) -> str:
    """A literal of the text's bytes in UTF-8."""
    plain = {byte for byte in range(32, 127) if chr(byte) not in '"\\?'}
    parts = (chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(parts)}"'


def _layer(number: int, layer: LayerRecord) -> str:
    fields = dict(layer.fields)
    kind = f".kind = MAAM_{KINDS[fields.pop('kind')].upper()}"
    convs = ",\n         ".join(f"{{{_fields(each)}}}" for each in layer.convs)
    return f"""        /* {number}: {_comment(layer.name)} */
        {{{kind}, {_fields(fields)},
         .in = {{{_fields(layer.source)}}},
         .out = {{{_fields(layer.out)}}},
         .conv = {{{convs}}}}},"""


def _fields(record: Mapping[str, int]) -> str:
    return ", ".join(f".{name} = {value}" for name, value in record.items())


def _float(value: float) -> str:
    """A literal of the float32 nearest to a value, exactly."""
    return f"{float(np.float32(value)).hex()}f"


def _comment(text: str) -> str:
    """Text that can't end a comment."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ")


def _lines(items: Iterable[str]) -> str:
    lines, line = [], "       "
    for item in items:
        if len(line) + len(item) + 2 > _WIDTH:
            lines.append(line)
            line = "       "
        line += f" {item},"
    return "\n".join([*lines, line])
