// From a picture of any size to the network's: ImageOps.fit(image, size, BICUBIC) of Pillow 13, to the
// last bit. It scales the picture until it covers the size, crops it about its centre, and lets every
// new pixel average the old ones below it (Keys' cubic with a = -0.5), in one direction and then in the
// other, with weights of 22 bits and a byte in between.

const WEIGHT_BITS = 22;
const HALF = 1 << (WEIGHT_BITS - 1);
const BAND = 256; // rows that are read at a time: a picture of 50 million pixels needs no 200 MB

/**
 * Pixels as the network takes them.
 * @param {(top: number, count: number) => Uint8ClampedArray} rows RGBA of some rows, opaque
 * @param {number[]} source width and height of the picture
 * @param {number[]} size width and height that the network takes
 * @param {number} channels 1 (grey) or 3 (RGB)
 * @returns {Uint8Array} height x width x channels
 */
function fit(rows, source, size, channels) {
  const [width, height] = source;
  const [left, top, right, bottom] = coveringBox(source, size);
  const across = spans(width, left, right, size[0]).map(inFixedPoint);
  const down = spans(height, top, bottom, size[1]).map(inFixedPoint);
  // Pillow before version 13 always goes across first, which differs by a few bytes in tall pictures.
  const downFirst = height > size[1] && height - size[1] > (width - size[0]) * 2;
  const stride = (downFirst ? width : size[0]) * channels;
  const sums = new Int32Array(stride * size[1]).fill(HALF);
  const first = down[0].first;
  const last = Math.max(...down.map((span) => span.first + span.weights.length));
  for (let row = first; row < last; row += BAND) {
    const count = Math.min(BAND, last - row);
    const pixels = withoutAlpha(rows(row, count), channels);
    const lines = downFirst ? pixels : averageAcross(pixels, width, channels, across);
    addDown(sums, stride, lines, row, down);
  }
  const averages = Uint8Array.from(sums, toByte);
  return downFirst ? averageAcross(averages, width, channels, across) : averages;
}

/** Left, top, right and bottom of the middle of a picture, which has the shape of `size`. */
function coveringBox([width, height], [wide, high]) {
  const ratio = width / height;
  const wanted = wide / high;
  const across = ratio > wanted ? wanted * height : width;
  const down = ratio < wanted ? width / wanted : height;
  const left = (width - across) * 0.5;
  const top = (height - down) * 0.5;
  return [left, top, left + across, top + down].map(Math.fround);
}

/** For each of `count` new pixels: the first old one that it averages, and the weights from there. */
function spans(length, start, end, count) {
  const scale = Math.fround(end - start) / count;
  const stretch = Math.max(scale, 1);
  const reach = 2 * stretch;
  return Array.from({ length: count }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach + 0.5), length);
    const weights = new Float64Array(last - first);
    let total = 0;
    for (let index = 0; index < weights.length; index++) {
      weights[index] = cubic((index + first - centre + 0.5) * (1 / stretch));
      total += weights[index];
    }
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

function cubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

function inFixedPoint({ first, weights }) {
  const rounded = Int32Array.from(weights, (weight) => {
    const scaled = weight * 2 ** WEIGHT_BITS;
    return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  });
  return { first, weights: rounded };
}

/** RGBA -> RGB, or grey as Pillow makes it (ITU-R 601-2). */
function withoutAlpha(pixels, channels) {
  const out = new Uint8Array((pixels.length / 4) * channels);
  for (let from = 0, to = 0; from < pixels.length; from += 4) {
    const red = pixels[from];
    const green = pixels[from + 1];
    const blue = pixels[from + 2];
    if (channels === 1) {
      out[to++] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    } else {
      out[to++] = red;
      out[to++] = green;
      out[to++] = blue;
    }
  }
  return out;
}

/** Lines of `width` pixels, averaged to as many as there are spans. */
function averageAcross(pixels, width, channels, across) {
  const count = pixels.length / (width * channels);
  const out = new Uint8Array(count * across.length * channels);
  let to = 0;
  for (let line = 0; line < count; line++) {
    const begin = line * width * channels;
    for (const { first, weights } of across) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = HALF;
        let from = begin + first * channels + channel;
        for (let index = 0; index < weights.length; index++, from += channels) {
          sum += pixels[from] * weights[index];
        }
        out[to++] = toByte(sum);
      }
    }
  }
  return out;
}

/** Add lines of `stride` bytes, the first of which is number `row`, to the new lines that average them. */
function addDown(sums, stride, lines, row, down) {
  const end = row + lines.length / stride;
  down.forEach(({ first, weights }, target) => {
    const last = Math.min(first + weights.length, end);
    for (let line = Math.max(first, row); line < last; line++) {
      const weight = weights[line - first];
      const from = (line - row) * stride;
      for (let place = 0, to = target * stride; place < stride; place++, to++) {
        sums[to] += lines[from + place] * weight;
      }
    }
  });
}

function toByte(sum) {
  return Math.min(Math.max(sum >> WEIGHT_BITS, 0), 255);
}
