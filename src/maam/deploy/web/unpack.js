// Unpack what lies in this page as text: the page's code, the kernels and the weights.
//
// The text holds 7 bits in a byte of UTF-8 (base64 holds 6), as "base122" does: a character below 128
// is 7 bits; one from 256 on is 14, of which the first 7 are one of the characters that HTML, editors
// or terminals would take amiss. The bits are deflated bytes (RFC 1951). They are inflated here, as
// browsers whose WebAssembly has no SIMD have no DecompressionStream either.

const AVOIDED = [0, 4, 7, 8, 10, 11, 12, 13, 14, 15, 26, 27, 60, 127]; // as in packing.py
const CODE_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const LENGTHS = [...ranges(28, 3, (index) => (index >> 2) - 1), { base: 258, more: 0 }];
const DISTANCES = ranges(30, 1, (index) => (index >> 1) - 1);
const END_OF_BLOCK = 256;
const LONGEST_CODE = 15;

/** The bytes in an element of this page, which says how many they are. */
function unpack(id) {
  const { textContent, dataset } = document.getElementById(id);
  return inflate(fromText(textContent), Number(dataset.bytes));
}

function fromText(text) {
  const out = new Uint8Array((2 * text.length * 7) >> 3);
  let filled = 0;
  let held = 0;
  let count = 0;
  const push = (seven) => {
    held = (held << 7) | seven;
    count += 7;
    if (count >= 8) out[filled++] = held >> (count -= 8);
    held &= 0xff;
  };
  for (let place = 0; place < text.length; place++) {
    const code = text.charCodeAt(place);
    if (code >= 256) push(AVOIDED[(code >> 7) - 2]);
    push(code & 127);
  }
  return out.subarray(0, filled);
}

function inflate(packed, length) {
  const out = new Uint8Array(length);
  const reader = { packed, place: 0, held: 0, count: 0 };
  let filled = 0;
  for (let final = 0; !final; ) {
    final = bits(reader, 1);
    const kind = bits(reader, 2);
    if (kind === 0) filled = copyStored(reader, out, filled);
    else filled = decodeBlock(reader, kind === 1 ? fixedCodes() : readCodes(reader), out, filled);
  }
  if (filled !== length) throw new Error("the data are damaged");
  return out;
}

function bits(reader, wanted) {
  while (reader.count < wanted) {
    if (reader.place >= reader.packed.length) throw new Error("the data are cut off");
    reader.held |= reader.packed[reader.place++] << reader.count;
    reader.count += 8;
  }
  const value = reader.held & ((1 << wanted) - 1);
  reader.held >>>= wanted;
  reader.count -= wanted;
  return value;
}

function copyStored(reader, out, filled) {
  reader.held = reader.count = 0; // goes on at the next byte
  const size = bits(reader, 16);
  reader.place += 2; // the size once more, inverted
  out.set(reader.packed.subarray(reader.place, reader.place + size), filled);
  reader.place += size;
  return filled + size;
}

/** What a symbol stands for: from `base` on, by so many `more` bits. */
function ranges(count, first, moreBits) {
  const out = [];
  for (let index = 0, base = first; index < count; index++) {
    const more = Math.max(moreBits(index), 0);
    out.push({ base, more });
    base += 1 << more;
  }
  return out;
}

/** A canonical Huffman code: how many symbols have each length, and the symbols in order. */
function huffman(lengths) {
  const counts = new Uint16Array(LONGEST_CODE + 1);
  const symbols = [];
  for (let length = 1; length <= LONGEST_CODE; length++) {
    lengths.forEach((own, symbol) => own === length && symbols.push(symbol));
    counts[length] = lengths.filter((own) => own === length).length;
  }
  return { counts, symbols };
}

function readSymbol(reader, { counts, symbols }) {
  let code = 0;
  let first = 0;
  let index = 0;
  for (let length = 1; length <= LONGEST_CODE; length++) {
    code |= bits(reader, 1);
    const count = counts[length];
    if (code - first < count) return symbols[index + code - first];
    index += count;
    first = (first + count) << 1;
    code <<= 1;
  }
  throw new Error("the data are damaged");
}

function fixedCodes() {
  const span = (count, length) => new Array(count).fill(length);
  const literals = [...span(144, 8), ...span(112, 9), ...span(24, 7), ...span(8, 8)];
  return [huffman(literals), huffman(span(30, 5))];
}

function readCodes(reader) {
  const literals = bits(reader, 5) + 257;
  const distances = bits(reader, 5) + 1;
  const known = bits(reader, 4) + 4;
  const own = new Array(CODE_ORDER.length).fill(0);
  for (let index = 0; index < known; index++) own[CODE_ORDER[index]] = bits(reader, 3);
  const code = huffman(own);
  const lengths = [];
  while (lengths.length < literals + distances) {
    const next = readSymbol(reader, code);
    let value = 0;
    let times = 1;
    if (next < 16) value = next;
    else if (next === 16) [value, times] = [lengths[lengths.length - 1], 3 + bits(reader, 2)];
    else times = next === 17 ? 3 + bits(reader, 3) : 11 + bits(reader, 7);
    for (; times > 0; times--) lengths.push(value);
  }
  return [huffman(lengths.slice(0, literals)), huffman(lengths.slice(literals))];
}

function decodeBlock(reader, [literals, distances], out, filled) {
  for (;;) {
    const next = readSymbol(reader, literals);
    if (next === END_OF_BLOCK) return filled;
    if (next < END_OF_BLOCK) out[filled++] = next;
    else {
      const size = LENGTHS[next - END_OF_BLOCK - 1];
      const length = size.base + bits(reader, size.more);
      const far = DISTANCES[readSymbol(reader, distances)];
      const distance = far.base + bits(reader, far.more);
      for (let copied = 0; copied < length; copied++, filled++) out[filled] = out[filled - distance];
    }
  }
}
