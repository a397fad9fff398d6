// The gradients of depthwise convolution for PyTorch on a CPU: one kernel a channel, odd square
// kernels, zero padding of half a kernel, stride 1 or 2, maps in the channels-last layout
// (N, H, W, C) as bfloat16 or float32, weights (K, K, C) in float32.
//
//     y[n, i, j, c] = sum over a, b of w[a, b, c] * x[n, s * i + a - K / 2, s * j + b - K / 2, c]
//
// oneDNN, which PyTorch calls, is quick forwards, but its gradients take several times as long.
// Here a vector is kLanes channels of a pixel. One image after the other is laid out in float32 with
// zeros around it, in the cache, and all sums are float32.
//
// Every number is summed up in an order that does not depend on the number of threads.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "../native.h"
#include "../vectors.h"

namespace {

#ifdef __AVX512F__  // 32 registers of 16 numbers
constexpr int kPixels = 8, kRegisters = 25;
#else  // at least 16 of 8
constexpr int kPixels = 4, kRegisters = 10;
#endif
constexpr int64_t kThreadWork = 1 << 21;  // products for which one more thread is worth its start
constexpr int64_t kParts = 16;            // of the batch, each with a gradient of the weights

struct Sizes {
  int64_t batch, channels, height, width, stride;  // of x
  int64_t most;                                    // threads

  int64_t rows() const { return (height + stride - 1) / stride; }  // of y
  int64_t columns() const { return (width + stride - 1) / stride; }
  int64_t blocks() const { return (channels + kLanes - 1) / kLanes; }
  int64_t threads(int64_t taps) const {
    return std::min(most, batch * channels * rows() * columns() * taps / kThreadWork);
  }
};

// kLanes channels of an image in float32, with zeros around: `border` pixels before, and as many
// after as vectors of kPixels reach. With a step of 2, zeros between the pixels too.
struct Plane {
  int64_t step, border, stride;
  std::vector<float> values;

  Plane(int64_t height, int64_t width, int64_t step, int64_t border)
      : step(step), border(border),
        stride((step * width + 2 * border + 2 * kPixels) * kLanes),
        values((step * height + 2 * border) * stride) {}

  template <class T>
  void fill(const T *image, int64_t height, int64_t width, int64_t channels, int64_t count) {
    for (int64_t i = 0; i < height; i++) {
      float *to = &values[(border + step * i) * stride + border * kLanes];
      for (int64_t j = 0; j < width; j++, image += channels, to += step * kLanes)
        store(to, load_some(image, count));
    }
  }
};

// kPixels results of a row: w is (K, K, kLanes), p the first pixel under the kernel's corner.
template <int K>
inline void sum_up(const Plane &x, const float *p, const float *w, Vector (&sum)[kPixels]) {
  UNROLL for (auto &v : sum) v = Vector{};
  for (int a = 0; a < K; a++, p += x.stride)
    UNROLL for (int b = 0; b < K; b++) {
      const Vector tap = load(w + (a * K + b) * kLanes);
      UNROLL for (int q = 0; q < kPixels; q++) sum[q] += tap * load(p + (q + b) * kLanes);
    }
}

// dx = the kernel turned around * dy, whose pixels lie `stride` apart.
template <int K, class T>
void input_gradient(const Sizes &s, const T *dy, const float *w, T *dx) {
  const int64_t tasks = s.batch * s.blocks(), parts = std::min(8 * cores(), tasks);
  parallel(parts, s.threads(K * K), [&](int64_t part) {
    Plane plane(s.rows(), s.columns(), s.stride, K / 2);
    float taps[K * K * kLanes];
    for (int64_t t = part * tasks / parts; t < (part + 1) * tasks / parts; t++) {
      const int64_t n = t / s.blocks(), first = t % s.blocks() * kLanes, count = s.channels - first;
      for (int64_t i = 0; i < K * K; i++)
        store(taps + i * kLanes, load_some(w + (K * K - 1 - i) * s.channels + first, count));
      plane.fill(dy + n * s.rows() * s.columns() * s.channels + first, s.rows(), s.columns(),
                 s.channels, count);
      T *to = dx + n * s.height * s.width * s.channels + first;
      for (int64_t i = 0; i < s.height; i++)
        for (int64_t j = 0; j < s.width; j += kPixels) {
          Vector sum[kPixels];
          sum_up<K>(plane, &plane.values[i * plane.stride + j * kLanes], taps, sum);
          for (int64_t q = 0; q < std::min<int64_t>(kPixels, s.width - j); q++)
            store_some(to + (i * s.width + j + q) * s.channels, sum[q], count);
        }
    }
  });
}

// dw += x * dy for `A` rows of the kernel; dw is (A, K, kLanes).
template <int K, int A>
inline void correlate(const Sizes &s, const Plane &x, int64_t first, const Plane &dy, float *dw) {
  Vector sum[A * K];
  UNROLL for (int t = 0; t < A * K; t++) sum[t] = load(dw + t * kLanes);
  for (int64_t i = 0; i < s.rows(); i++) {
    const float *g = &dy.values[i * dy.stride];
    const float *p = &x.values[(s.stride * i + first) * x.stride];
    for (int64_t j = 0; j < s.columns(); j++, g += kLanes, p += s.stride * kLanes) {
      const Vector v = load(g);
      UNROLL for (int a = 0; a < A; a++)
        UNROLL for (int b = 0; b < K; b++) sum[a * K + b] += v * load(p + a * x.stride + b * kLanes);
    }
  }
  UNROLL for (int t = 0; t < A * K; t++) store(dw + t * kLanes, sum[t]);
}

template <int K, class T>
void weight_gradient(const Sizes &s, const T *x, const T *dy, float *dw) {
  constexpr int fit = kRegisters / K, rows = fit < 1 ? 1 : fit > K ? K : fit;
  const int64_t size = K * K * kLanes, parts = std::min(kParts, s.batch);
  std::vector<float> sums(parts * s.blocks() * size);
  parallel(parts, s.threads(K * K), [&](int64_t part) {
    Plane in(s.height, s.width, 1, K / 2), out(s.rows(), s.columns(), 1, 0);
    for (int64_t n = part * s.batch / parts; n < (part + 1) * s.batch / parts; n++)
      for (int64_t block = 0; block < s.blocks(); block++) {
        const int64_t image = n * s.channels, first = block * kLanes, count = s.channels - first;
        in.fill(x + image * s.height * s.width + first, s.height, s.width, s.channels, count);
        out.fill(dy + image * s.rows() * s.columns() + first, s.rows(), s.columns(), s.channels,
                 count);
        float *to = &sums[(part * s.blocks() + block) * size];
        int a = 0;
        for (; a + rows <= K; a += rows) correlate<K, rows>(s, in, a, out, to + a * K * kLanes);
        if constexpr (K % rows) correlate<K, K % rows>(s, in, a, out, to + a * K * kLanes);
      }
  });
  for (int64_t t = 0; t < K * K; t++)
    for (int64_t c = 0; c < s.channels; c++) {
      float sum = 0;
      for (int64_t part = 0; part < parts; part++)
        sum += sums[(part * s.blocks() + c / kLanes) * size + t * kLanes + c % kLanes];
      dw[t * s.channels + c] = sum;
    }
}

// sizes: N, C, H, W of x, the stride, K, and how many threads there may be.
template <class Visit>
int with_sizes(const int64_t *sizes, const Visit &visit) {
  const Sizes s{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[6]};
  if (s.batch * s.channels * s.height * s.width < 1 || s.stride < 1 || s.stride > 2)
    return kBadSizes;
  return guarded([&] {
    switch (sizes[5]) {
      case 3: return visit(s, std::integral_constant<int, 3>()), kDone;
      case 5: return visit(s, std::integral_constant<int, 5>()), kDone;
      case 7: return visit(s, std::integral_constant<int, 7>()), kDone;
      default: return kBadSizes;
    }
  });
}

}  // namespace

// Called through ctypes; `half`: maps are bfloat16, else float32. They return an Outcome.

extern "C" int depthwise_input(const int64_t *sizes, int half, const void *dy, const float *w,
                               void *dx) {
  return with_sizes(sizes, [&](const Sizes &s, auto k) {
    if (half)
      input_gradient<k>(s, static_cast<const uint16_t *>(dy), w, static_cast<uint16_t *>(dx));
    else
      input_gradient<k>(s, static_cast<const float *>(dy), w, static_cast<float *>(dx));
  });
}

extern "C" int depthwise_weight(const int64_t *sizes, int half, const void *x, const void *dy,
                                float *dw) {
  return with_sizes(sizes, [&](const Sizes &s, auto k) {
    if (half)
      weight_gradient<k>(s, static_cast<const uint16_t *>(x), static_cast<const uint16_t *>(dy),
                         dw);
    else
      weight_gradient<k>(s, static_cast<const float *>(x), static_cast<const float *>(dy), dw);
  });
}
