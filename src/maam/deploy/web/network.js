// The network: its kernels in WebAssembly, and the block of bytes that holds its layers and weights.

const PAGE_BYTES = 65536; // WebAssembly's unit of memory
const RUNS = 10; // to measure its time, which browsers tell in steps of up to a millisecond
const PATIENCE = 150; // milliseconds, after which no further run is begun

/** Unpack the network into WebAssembly's memory. */
async function loadNetwork() {
  const simd = unpack("simd");
  const fast = WebAssembly.validate(simd);
  const block = unpack("block");
  const { instance } = await WebAssembly.instantiate(fast ? simd : unpack("scalar"), {});
  const kernels = instance.exports;
  const at = kernels.block_at();
  growTo(kernels.memory, at + block.length);
  new Uint8Array(kernels.memory.buffer).set(block, at);
  growTo(kernels.memory, kernels.memory_bytes());
  if (!kernels.run()) throw new Error("its weights are of another format");
  return { kernels, fast };
}

function growTo(memory, bytes) {
  const missing = bytes - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
}

/**
 * Classify an image.
 * @param {Uint8Array} pixels height x width x channels
 * @returns {{probabilities: Float32Array, milliseconds: number}} of one run, the mean of some
 */
function classify({ kernels }, pixels, classes) {
  new Uint8Array(kernels.memory.buffer).set(pixels, kernels.image_at());
  const begun = performance.now();
  let place = 0;
  let runs = 0;
  while (runs < RUNS && performance.now() - begun < PATIENCE) {
    place = kernels.run();
    runs++;
  }
  const milliseconds = (performance.now() - begun) / runs;
  return { probabilities: new Float32Array(kernels.memory.buffer, place, classes).slice(), milliseconds };
}

/** What each place of the last map adds to a class, of the image just classified; null without maps. */
function evidenceFor({ kernels }, which) {
  const place = kernels.class_map(which);
  if (!place) return null;
  const size = [kernels.map_width(), kernels.map_height()];
  const values = new Float32Array(kernels.memory.buffer, place, size[0] * size[1]);
  return { values: Float64Array.from(values), size };
}
