// The evidence for a class over a picture: a class-activation map (Zhou et al. 2016, arXiv 1512.04150).
// Drawn as `maam explain` draws it: the picture in grey, the more evidence the brighter the colour; what
// the network has not seen is pale.

const INFERNO = [[0, 0, 4], [51, 10, 95], [120, 28, 109], [187, 55, 84], [237, 105, 37], [252, 181, 25],
  [252, 255, 164]]; // anchors of Matplotlib's colour map
const STRENGTH = 0.75; // of the hottest place: so much heat, and the rest picture
const PALE = { share: 0.65, grey: 235 };

/**
 * @param {ImageData} picture
 * @param {{values: Float64Array, size: number[]}} evidence of [width, height] places
 * @param {number[]} seen left, top, right, bottom of what the network sees, in the picture's pixels
 * @returns {ImageData}
 */
function heat(picture, evidence, seen) {
  const { width, height, data } = picture;
  const out = new ImageData(width, height);
  const [left, top, right, bottom] = seen.map(Math.round);
  const inside = [Math.max(right - left, 1), Math.max(bottom - top, 1)];
  const spread = enlarge(scaled(evidence.values), evidence.size, inside);
  for (let y = 0, place = 0; y < height; y++) {
    for (let x = 0; x < width; x++, place += 4) {
      const grey = 0.299 * data[place] + 0.587 * data[place + 1] + 0.114 * data[place + 2];
      const [across, down] = [x - left, y - top];
      const within = across >= 0 && down >= 0 && across < inside[0] && down < inside[1];
      const share = within ? spread[down * inside[0] + across] : 0;
      const paper = within ? grey : (1 - PALE.share) * grey + PALE.share * PALE.grey;
      const alpha = STRENGTH * share;
      for (let channel = 0; channel < 3; channel++) {
        const colour = alpha && inferno(0.25 + 0.75 * share, channel);
        out.data[place + channel] = (1 - alpha) * paper + alpha * colour;
      }
      out.data[place + 3] = 255;
    }
  }
  return out;
}

/** From 0 to 1; what speaks against the class is 0. */
function scaled(values) {
  const most = Math.max(...values);
  return values.map((value) => (most > 0 ? Math.max(value, 0) / most : 0));
}

function inferno(value, channel) {
  const place = Math.min(Math.max(value, 0), 1) * (INFERNO.length - 1);
  const low = Math.min(Math.trunc(place), INFERNO.length - 2);
  const share = place - low;
  return (1 - share) * INFERNO[low][channel] + share * INFERNO[low + 1][channel];
}

/** Values of [width, height] places, smoothly, at more places. */
function enlarge(values, [width, height], [wide, high]) {
  const across = spans(width, 0, width, wide);
  const down = spans(height, 0, height, high);
  const rows = new Float64Array(height * wide);
  const out = new Float64Array(high * wide);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < wide; x++) rows[y * wide + x] = weighted(values, y * width, 1, across[x]);
  }
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      out[y * wide + x] = Math.min(Math.max(weighted(rows, x, wide, down[y]), 0), 1);
    }
  }
  return out;
}

function weighted(values, begin, step, { first, weights }) {
  let sum = 0;
  for (let index = 0; index < weights.length; index++) {
    sum += values[begin + (first + index) * step] * weights[index];
  }
  return sum;
}
