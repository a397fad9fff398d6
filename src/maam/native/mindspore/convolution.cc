// Convolution in training, with both gradients: stride 1, odd square kernels, zero padding that
// keeps the size, groups, no bias, NCHW, float32, widths that are whole vectors. A 1x1 kernel does not
// care where rows end: there, whole maps are whole vectors.
//
//     y[n, o, i, j] = sum over c, a, b of w[o, c, a, b] * x[n, c, i + a - k / 2, j + b - k / 2]
//
// MindSpore hands its oneDNN plain NCHW maps, for which that has no direct kernel: it unfolds each
// image and multiplies matrices. Here the loops run over the maps themselves. As many results as
// the registers hold are summed up at once; a vector is a piece of a row, or, in the gradient of
// the weights, a piece of the output channels of one pixel. 3x3 kernels of whole vectors of channels
// are left to winograd.h, which wants the channels of an image last.
//
// Every number is summed up by one task, in a fixed order, so the result does not depend on the
// number of threads, to the last bit.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "../native.h"
#include "../vectors.h"
#include "../winograd.h"

namespace {

#ifdef __AVX512F__  // 32 registers of 16 numbers
constexpr int kTileChannels = 4, kTileRows = 4, kPieces = 2;
#else  // at least 16 of 8
constexpr int kTileChannels = 6, kTileRows = 2, kPieces = 1;
#endif
constexpr int64_t kParts = 8;  // of a batch
constexpr int64_t kThreadWork = 1 << 22;  // products for which one more thread is worth its start

typedef int32_t Lanes __attribute__((vector_size(4 * kLanes)));

inline int64_t ratio_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Channels are those of one group.
struct Sizes {
  int64_t batch, groups, in, out, height, width;

  int64_t plane() const { return height * width; }
  int64_t threads(int64_t taps) const {  // as many as pay
    return batch * groups * in * out * plane() * taps / kThreadWork;
  }
};

// The channels of one group of one image, with zeros around them: enough for `rows` rows of y.
template <int K>
struct Padded {
  int64_t stride, channel;
  std::vector<float> values;

  Padded(const Sizes &s, int64_t rows)
      : stride(s.width + K - 1), channel((rows + K - 1) * stride), values(s.in * channel) {}

  void fill(const Sizes &s, const float *x) {  // the zeros stay
    for (int64_t c = 0; c < s.in; c++)
      for (int64_t i = 0; i < s.height; i++, x += s.width)
        std::copy(x, x + s.width, &values[c * channel + (i + K / 2) * stride + K / 2]);
  }
};

// kTileRows x kLanes pixels of kTileChannels output channels. w is (in, K, K, kTileChannels).
template <int K>
inline void tile(const Padded<K> &x, int64_t start, int64_t in, const float *w,
                 Vector (&sum)[kTileChannels][kTileRows]) {
  UNROLL for (auto &rows : sum) UNROLL for (auto &v : rows) v = Vector{};
  const float *p = &x.values[start];
  for (int64_t c = 0; c < in; c++, p += x.channel, w += K * K * kTileChannels) {
    UNROLL for (int b = 0; b < K; b++) {
      Vector row[kTileRows + K - 1];  // each serves all rows of the kernel
      UNROLL for (int r = 0; r < kTileRows + K - 1; r++) row[r] = load(p + r * x.stride + b);
      UNROLL for (int a = 0; a < K; a++)
        UNROLL for (int o = 0; o < kTileChannels; o++)
          UNROLL for (int r = 0; r < kTileRows; r++)
            sum[o][r] += w[(a * K + b) * kTileChannels + o] * row[r + a];
    }
  }
}

// One step of a transposition: swaps the halves, quarters, ... of rows that lie `half` apart.
template <int half>
inline void swap(Vector (&rows)[kLanes]) {
  Lanes low, high;
  UNROLL for (int j = 0; j < kLanes; j++) {
    low[j] = j & half ? kLanes + j - half : j;
    high[j] = j & half ? kLanes + j : j + half;
  }
  UNROLL for (int i = 0; i < kLanes; i++) {
    if (i & half) continue;
    const Vector a = rows[i], b = rows[i + half];
    rows[i] = __builtin_shuffle(a, b, low);
    rows[i + half] = __builtin_shuffle(a, b, high);
  }
}

// Of a matrix of kLanes columns, rows `from_step` apart, to `rows` columns, their rows `to_step` apart.
inline void turn(const float *from, int64_t from_step, int64_t rows, float *to, int64_t to_step) {
  Vector lines[kLanes];  // beyond `rows`, the last one is repeated
  for (int64_t o = 0; o < kLanes; o++) lines[o] = load(from + std::min(o, rows - 1) * from_step);
  if (kLanes > 8) swap<kLanes / 2>(lines);
  swap<4>(lines), swap<2>(lines), swap<1>(lines);
  for (int64_t j = 0; j < kLanes; j++) store(to + j * to_step, lines[j]);
}

// `pixels` of kLanes channels, (channel, pixel), to (pixel, channel), `step` numbers apart.
inline void transpose(const float *from, int64_t channels, int64_t plane, int64_t pixels, float *to,
                      int64_t step) {
  for (int64_t i = 0; i < pixels; i += kLanes) turn(from + i, plane, channels, to + i * step, step);
}

// One group of one image, channels last, with zeros around it; those stay.
inline void pad_turned(int64_t channels, int64_t height, int64_t width, const float *x, float *to) {
  for (int64_t c = 0; c < channels; c += kLanes)
    for (int64_t i = 0; i < height; i++)
      transpose(x + (c * height + i) * width, kLanes, height * width, width,
                to + ((i + 1) * (width + 2) + 1) * channels + c, channels);
}

// As convolve, by Winograd.
template <class Weight>
void quick_convolve(const Sizes &s, const float *x, const Weight &weight, float *y) {
  std::vector<Winograd> kernels;
  for (int64_t g = 0; g < s.groups; g++)
    kernels.emplace_back(s.in, s.out, s.height, s.width, [&](int64_t o, int64_t c, int64_t tap) {
      return weight(g, o, c, tap);
    });
  const int64_t tasks = s.batch * s.groups, parts = std::min(4 * cores(), tasks);
  parallel(parts, s.threads(9), [&](int64_t part) {
    Buffer padded((s.height + 2) * (s.width + 2) * s.in), result(s.plane() * s.out);
    for (int64_t t = part * tasks / parts; t < (part + 1) * tasks / parts; t++) {
      pad_turned(s.in, s.height, s.width, x + t * s.in * s.plane(), padded.get());
      kernels[t % s.groups].forward(padded.get(), result.get());
      for (int64_t i = 0; i < s.plane(); i += kLanes)
        for (int64_t o = 0; o < s.out; o += kLanes)
          turn(result.get() + i * s.out + o, s.out, kLanes, y + (t * s.out + o) * s.plane() + i,
               s.plane());
    }
  });
}

// weight(g, o, c, tap) is the weight from channel c to channel o of group g, tap = a * K + b.
template <int K, class Weight>
void convolve(const Sizes &s, const float *x, const Weight &weight, float *y) {
  if (K == 3 && Winograd::takes(s.in, s.out, s.height, s.width))
    return quick_convolve(s, x, weight, y);
  const int64_t blocks = ratio_up(s.out, kTileChannels), size = s.in * K * K * kTileChannels;
  std::vector<float> packed(s.groups * blocks * size);
  parallel(s.groups * blocks, s.threads(K * K), [&](int64_t t) {
    float *to = &packed[t * size];
    const int64_t g = t / blocks, first = t % blocks * kTileChannels;
    for (int64_t c = 0; c < s.in; c++)
      for (int64_t tap = 0; tap < K * K; tap++)
        for (int64_t o = first; o < first + kTileChannels; o++)
          *to++ = o < s.out ? weight(g, o, c, tap) : 0;
  });
  const int64_t tasks = s.batch * s.groups, parts = std::min(4 * cores(), tasks);
  parallel(parts, s.threads(K * K), [&](int64_t part) {
    Padded<K> padded(s, ratio_up(s.height, kTileRows) * kTileRows);
    for (int64_t t = part * tasks / parts; t < (part + 1) * tasks / parts; t++) {
      padded.fill(s, x + t * s.in * s.plane());
      for (int64_t top = 0; top < s.height; top += kTileRows)
        for (int64_t left = 0; left < s.width; left += kLanes)
          for (int64_t b = 0; b < blocks; b++) {
            Vector sum[kTileChannels][kTileRows];
            tile<K>(padded, top * padded.stride + left, s.in,
                    &packed[(t % s.groups * blocks + b) * size], sum);
            const int64_t first = b * kTileChannels;
            for (int64_t o = first; o < std::min(first + kTileChannels, s.out); o++)
              for (int64_t i = top; i < std::min(top + kTileRows, s.height); i++)
                store(y + (t * s.out + o) * s.plane() + i * s.width + left, sum[o - first][i - top]);
          }
    }
  });
}

// dw += sum over pixels of x * dy, for one input channel and `A` rows of the kernel.
// dw is (A, K, kPieces * kLanes), dy (pixels, kPieces * kLanes).
template <int K, int A>
inline void correlate(const Sizes &s, const float *x, int64_t stride, const float *dy, float *dw) {
  Vector sum[A * K][kPieces];
  UNROLL for (auto &pieces : sum) UNROLL for (auto &v : pieces) v = Vector{};
  for (int64_t i = 0; i < s.height; i++, x += stride)
    for (int64_t j = 0; j < s.width; j++, dy += kPieces * kLanes) {
      Vector g[kPieces];
      UNROLL for (int o = 0; o < kPieces; o++) g[o] = load(dy + o * kLanes);
      UNROLL for (int a = 0; a < A; a++)
        UNROLL for (int b = 0; b < K; b++)
          UNROLL for (int o = 0; o < kPieces; o++) sum[a * K + b][o] += x[a * stride + j + b] * g[o];
    }
  UNROLL for (int t = 0; t < A * K; t++)
    UNROLL for (int o = 0; o < kPieces; o++) {
      float *p = dw + (t * kPieces + o) * kLanes;
      store(p, load(p) + sum[t][o]);
    }
}

// As weight_gradient, by Winograd. The parts of a batch do not depend on the machine.
inline void quick_weight_gradient(const Sizes &s, const float *x, const float *dy, float *dw) {
  const Winograd kernel(s.in, s.out, s.height, s.width);
  const int64_t parts = std::min<int64_t>(s.batch, kParts), size = kernel.gradients();
  std::vector<Buffer> found(s.groups * parts);
  parallel(s.groups * parts, s.threads(9), [&](int64_t t) {
    const int64_t g = t / parts, part = t % parts;
    Buffer padded((s.height + 2) * (s.width + 2) * s.in), gradient(s.plane() * s.out);
    found[t] = Buffer(size);
    for (int64_t n = part * s.batch / parts; n < (part + 1) * s.batch / parts; n++) {
      const int64_t image = n * s.groups + g;
      pad_turned(s.in, s.height, s.width, x + image * s.in * s.plane(), padded.get());
      for (int64_t o = 0; o < s.out; o += kLanes)
        transpose(dy + (image * s.out + o) * s.plane(), kLanes, s.plane(), s.plane(),
                  gradient.get() + o, s.out);
      kernel.add_gradient(padded.get(), gradient.get(), s.width * s.out, found[t].get());
    }
  });
  parallel(s.groups, s.threads(9), [&](int64_t g) {
    float *total = found[g * parts].get();
    for (int64_t part = 1; part < parts; part++)
      for (int64_t k = 0; k < size; k++) total[k] += found[g * parts + part].get()[k];
    kernel.order(total, dw + g * s.out * s.in * 9);
  });
}

template <int K>
void weight_gradient(const Sizes &s, const float *x, const float *dy, float *dw) {
  if (K == 3 && Winograd::takes(s.in, s.out, s.height, s.width))
    return quick_weight_gradient(s, x, dy, dw);
  constexpr int rows = K == 3 ? 3 : 1, width = kPieces * kLanes, side = 8;
  const int64_t taps = s.in * K * K, plane = s.plane(), blocks = ratio_up(s.out, width);
  const int64_t parts = std::min(ratio_up(2 * cores(), s.groups), blocks);
  parallel(s.groups * parts, s.threads(K * K), [&](int64_t t) {
    const int64_t g = t / parts, part = t % parts;
    const int64_t first = part * blocks / parts, last = (part + 1) * blocks / parts;
    Padded<K> padded(s, s.height);
    std::vector<float> turned(plane * width), sums((last - first) * taps * width);
    for (int64_t n = 0; n < s.batch; n++) {
      padded.fill(s, x + (n * s.groups + g) * s.in * plane);
      for (int64_t b = first; b < last; b++) {
        for (int64_t o = b * width; o < std::min((b + 1) * width, s.out); o += kLanes)
          transpose(dy + ((n * s.groups + g) * s.out + o) * plane, s.out - o, plane,
                    plane, &turned[o - b * width], width);
        int64_t c = 0;
        if constexpr (K == 1)  // several channels at once; they lie as rows of a kernel do
          for (const Sizes line{1, 1, 1, 1, 1, plane}; c + side <= s.in; c += side)
            correlate<1, side>(line, &padded.values[c * padded.channel], padded.channel,
                               turned.data(), &sums[((b - first) * taps + c) * width]);
        for (; c < s.in; c++)
          for (int64_t a = 0; a < K; a += rows)
            correlate<K, rows>(s, &padded.values[c * padded.channel + a * padded.stride],
                               padded.stride, turned.data(),
                               &sums[((b - first) * taps + c * K * K + a * K) * width]);
      }
    }
    for (int64_t o = first * width; o < std::min(last * width, s.out); o++)
      for (int64_t i = 0; i < taps; i++)
        dw[(g * s.out + o) * taps + i] = sums[((o / width - first) * taps + i) * width + o % width];
  });
}

// x is (N, G * in, H, W), w (G * out, in, K, K). visit is called with K as a type.
template <class Visit>
int with_sizes(const int64_t *x, const int64_t *w, const Visit &visit) {
  if (w[1] < 1 || x[1] < w[1] || x[1] % w[1]) return kBadSizes;
  const int64_t groups = x[1] / w[1];
  if (w[0] % groups) return kBadSizes;
  Sizes sizes{x[0], groups, w[1], w[0] / groups, x[2], x[3]};
  if (w[2] == 1 && sizes.plane() % kLanes == 0)
    sizes.height = sizes.plane() / kLanes, sizes.width = kLanes;
  if (sizes.width % kLanes || w[2] != w[3] || sizes.batch * sizes.plane() < 1) return kBadSizes;
  return guarded([&] {
    switch (w[2]) {
      case 1: return visit(sizes, std::integral_constant<int, 1>()), kDone;
      case 3: return visit(sizes, std::integral_constant<int, 3>()), kDone;
      case 5: return visit(sizes, std::integral_constant<int, 5>()), kDone;
      case 7: return visit(sizes, std::integral_constant<int, 7>()), kDone;
      default: return kBadSizes;
    }
  });
}

}  // namespace

// MindSpore's interface of an ahead-of-time operator, see native.h.

// x, w -> y
extern "C" int Convolution(int count, void **params, int *, int64_t **shapes, const char **types,
                           void *, void *) {
  if (count != 3) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  return with_sizes(shapes[0], shapes[1], [&](const Sizes &s, auto k) {
    convolve<k>(s, p[0], [&](int64_t g, int64_t o, int64_t c, int64_t tap) {
      return p[1][((g * s.out + o) * s.in + c) * k * k + tap];
    }, p[2]);
  });
}

// x (for its shape), w, dy -> dx: a convolution of dy with the weights turned around.
extern "C" int ConvolutionGradInput(int count, void **params, int *, int64_t **shapes,
                                    const char **types, void *, void *) {
  if (count != 4) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  return with_sizes(shapes[0], shapes[1], [&](Sizes s, auto k) {
    std::swap(s.in, s.out);
    convolve<k>(s, p[2], [&](int64_t g, int64_t o, int64_t c, int64_t tap) {
      return p[1][((g * s.in + c) * s.out + o) * k * k + k * k - 1 - tap];
    }, p[3]);
  });
}

// x, w (for its shape), dy -> dw
extern "C" int ConvolutionGradWeight(int count, void **params, int *, int64_t **shapes,
                                     const char **types, void *, void *) {
  if (count != 4) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  return with_sizes(shapes[0], shapes[1], [&](const Sizes &s, auto k) {
    weight_gradient<k>(s, p[0], p[2], p[3]);
  });
}
