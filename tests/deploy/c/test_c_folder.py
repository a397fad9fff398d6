"""``maam export --format c``: a folder that builds by itself and answers as the run does."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_programs import CHECKS, compile_c
from layered_nets import every_kind, preprocessing, random_images

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.data.preprocessing import Preprocessing
from maam.deploy.c.block import make_block
from maam.deploy.c.folder import write_c
from maam.deploy.c.source import c_string, model_header, model_source
from maam.deploy.int8_file import save_int8
from maam.deploy.quantization import quantize_layers
from maam.deploy.reading import read_layers
from maam.models.weights import shipped_run


@pytest.fixture
def run(tmp_path) -> RunFolder:
    """The shipped nano with integers beside it."""
    source = shipped_run("maamnet-nano")
    folder = RunFolder(tmp_path / "nano")
    folder.path.mkdir()
    for path in (source.best, source.meta):
        (folder.path / path.name).write_bytes(path.read_bytes())
    how = Preprocessing.from_dict(folder.read_meta().preprocessing)
    save_int8(
        folder.path / "int8.safetensors",
        quantize_layers(read_layers(folder), how, random_images(4, how.size)),
    )
    return folder


def make(folder: Path, *goals: str) -> str:
    flags = " ".join(CHECKS)
    command = ["make", "-s", "-C", str(folder), f"CFLAGS={flags}", *goals]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_the_folder_builds_and_answers(run, tmp_path, precision):
    out = tmp_path / "a folder" / "model in C"
    figures = write_c(run, out, precision)
    assert set(figures) == {"Flash", "RAM", "Golden images"}
    assert make(out, "test") == "golden images: as expected\n"
    make(out)
    image = random_images(1, (32, 32), seed=0)[0]
    (tmp_path / "image.raw").write_bytes(image.tobytes())
    said = subprocess.run(
        [out / "classify", tmp_path / "image.raw"], capture_output=True, text=True
    )
    piped = subprocess.run([out / "classify"], input=image.tobytes(), capture_output=True)
    assert piped.stdout.decode() == said.stdout
    how = Preprocessing.from_dict(run.read_meta().preprocessing)
    logits = read_layers(run).logits(how(image[None]).transpose(0, 2, 3, 1))[0]
    first = said.stdout.splitlines()[0].split()
    assert len(said.stdout.splitlines()) == 5
    assert first[2] == run.read_meta().classes[int(logits.argmax())]
    score = "Before its weights became integers, the run's score was 89.34%."
    text = (out / "README.md").read_text()
    assert (score in text) == (precision == "int8") and "89.34%" in text
    if precision == "float32":
        raised = np.exp(logits - logits.max())
        assert float(first[0]) == pytest.approx(100 * raised.max() / raised.sum(), abs=0.06)
        assert float(first[4].rstrip(")")) == pytest.approx(logits.max(), abs=0.001)


def test_a_file_of_another_size_is_refused(run, tmp_path):
    write_c(run, tmp_path / "c", "float32")
    make(tmp_path / "c")
    image = tmp_path / "image.raw"
    for size in (0, 3071, 3073):
        image.write_bytes(bytes(size))
        said = subprocess.run([tmp_path / "c" / "classify", image], capture_output=True, text=True)
        assert said.returncode == 2
        wanted = "the image must have exactly 3072 bytes: uint8, height 32, width 32, channels 3\n"
        assert said.stderr == wanted
    image.unlink()
    said = subprocess.run([tmp_path / "c" / "classify", image], capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (2, f"cannot open {image}\n")


def test_the_readme_names_what_is_there(run, tmp_path):
    write_c(run, tmp_path / "c", "int8")
    text = (tmp_path / "c" / "README.md").read_text()
    assert "@" not in text
    header = (tmp_path / "c" / "model.h").read_text()
    for name in ("MODEL_ARENA_BYTES", "MODEL_RUN", "MODEL_LOGIT_SCALE", "MODEL_IMAGE_AT"):
        assert name in text + header
    program = text.split("```c\n")[1].split("```")[0]
    (tmp_path / "mine.c").write_text(program + "int main(void) { return classify(0) > 9; }\n")
    sources = [tmp_path / "mine.c", *sorted((tmp_path / "c").glob("maam_*.c"))]
    compile_c(tmp_path / "mine", [*sources, tmp_path / "c" / "model.c"], f"-I{tmp_path / 'c'}")


def test_a_folder_that_is_not_empty_is_refused(run, tmp_path):
    out = tmp_path / "c"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(MaamError, match=r"c exists already: delete it, or name another with `out`"):
        write_c(run, out, "int8")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled_and_nothing_else_is_left(run, tmp_path):
    out = tmp_path / "c"
    out.mkdir()
    before = set(os.listdir(tmp_path))
    write_c(run, out, "int8")
    assert (out / "model.c").exists()
    assert set(os.listdir(tmp_path)) == before


def test_a_run_that_is_not_quantised(run, tmp_path):
    (run.path / "int8.safetensors").unlink()
    with pytest.raises(MaamError, match="maam quantize"):
        write_c(run, tmp_path / "c", "int8")
    assert not (tmp_path / "c").exists()


def test_a_model_that_c_does_not_know(run, tmp_path):
    meta = run.read_meta()
    run.write_meta(dataclasses.replace(meta, model="resnet8"))
    with pytest.raises(MaamError, match="resnet8"):
        write_c(run, tmp_path / "c", "float32")


def test_a_network_whose_last_layer_is_not_dense():
    network = every_kind()
    with pytest.raises(MaamError, match="mean"):
        make_block(dataclasses.replace(network, layers=network.layers[:-1]), preprocessing())


def test_sums_beyond_int32_are_refused():
    network = quantize_layers(every_kind(), preprocessing(), random_images(2))
    stem = network.layers[0]
    conv = stem.convolutions[0]
    heavy = dataclasses.replace(conv, bias=np.full_like(conv.bias, 2**31 - 1))
    layers = (dataclasses.replace(stem, convolutions=(heavy,)), *network.layers[1:])
    with pytest.raises(MaamError, match="stem does not fit int8"):
        make_block(dataclasses.replace(network, layers=layers))


NAMES = ['a "quoted" name', "back\\slash", "what??/", "Ä ß 猫", "*/ int x;", "tab\tand\nline"]


def test_class_names_of_any_kind(tmp_path):
    block = make_block(every_kind(classes=len(NAMES)), preprocessing())
    (tmp_path / "model.h").write_text(model_header(block, "a */ title"))
    (tmp_path / "model.c").write_text(model_source(block, "a */ title", NAMES))
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "maam_nn.h"\n#include "model.h"\nint main(void) {\n'
        "for (int k = 0; k < MODEL_CLASSES; k++) {\nfputs(model_classes[k], stdout);\n"
        "putchar(0);\n}\n"
        "fwrite(model_block, 1, (size_t)((const maam_model *)model_block)->bytes, stdout);\n}\n"
    )
    (tmp_path / "maam_nn.h").write_bytes((_kernels() / "maam_nn.h").read_bytes())
    sources = [tmp_path / "main.c", tmp_path / "model.c"]
    program = compile_c(tmp_path / "main", sources, f"-I{tmp_path}")
    said = subprocess.run([program], capture_output=True).stdout
    *names, constants = said.split(b"\0", len(NAMES))
    assert [name.decode() for name in names] == NAMES
    assert constants == block.to_bytes()


def _kernels() -> Path:
    import maam.deploy.c

    return Path(maam.deploy.c.__file__).parent


def test_c_string():
    assert c_string('a"b') == '"a\\042b"'
    assert c_string("é") == '"\\303\\251"'
