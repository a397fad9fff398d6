// Depthwise convolution in training, with both gradients: one kernel a channel, a step of 1 or 2
// between its places, odd square kernels, zero padding of half a kernel, no bias, NCHW, float32,
// any width.
//
//     y[n, c, i, j] = sum over a, b of
//                     w[c, 0, a, b] * x[n, c, step * i + a - k / 2, step * j + b - k / 2]
//
// A padded plane is one long row: pixel (i, j) lies at i * stride + j, and tap (a, b) is a shift by
// a * stride + b. So vectors need not end with a row of pixels; what falls between two rows, or two
// steps, is computed and thrown away.
//
// Every number is summed up by one task, in a fixed order, so the result does not depend on the
// number of threads, to the last bit.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "../native.h"
#include "../vectors.h"

namespace {

#ifdef __AVX512F__  // 32 registers of 16 numbers
constexpr int kSums = 8, kRegisters = 24;
#else  // at least 16 of 8
constexpr int kSums = 4, kRegisters = 10;
#endif
constexpr int64_t kThreadWork = 1 << 21;  // products for which one more thread is worth its start

struct Sizes {
  int64_t batch, channels, height, width, step;  // height and width of x

  int64_t planes() const { return batch * channels; }
  int64_t threads(int64_t taps) const { return planes() * height * width * taps / kThreadWork; }
};

// Height and width of a plane whose pixels lie `step` apart in one of x: all of x, or those of y.
struct Grid {
  int64_t step, height, width;

  Grid(const Sizes &s, int64_t step)
      : step(step), height((s.height + step - 1) / step), width((s.width + step - 1) / step) {}
  int64_t size() const { return height * width; }
};

inline void spread(const float *from, int64_t count, int64_t from_step, float *to,
                   int64_t to_step) {
  if (from_step == to_step) {
    std::copy_n(from, count, to);
  } else {
    for (int64_t i = 0; i < count; i++) to[i * to_step] = from[i * from_step];
  }
}

// One plane with K - 1 zeros between its rows, and what vectors reach beyond its end.
template <int K>
struct Long {
  static constexpr int kStep = kSums * kLanes;
  int64_t stride, length;  // `length` numbers hold all pixels, up to whole steps
  std::vector<float> values;

  Long(const Sizes &s, int64_t rows)
      : stride(s.width + K - 1),
        length((s.height * stride + kStep - 1) / kStep * kStep),
        values(length + rows * stride + kLanes) {}

  void fill(const Grid &grid, const float *x, int64_t first) {  // the zeros stay
    for (int64_t i = 0; i < grid.height; i++, x += grid.width)
      spread(x, grid.width, 1, &values[first + i * grid.step * stride], grid.step);
  }
  void read(const Grid &grid, float *y) const {
    for (int64_t i = 0; i < grid.height; i++, y += grid.width)
      spread(&values[i * grid.step * stride], grid.width, grid.step, y, 1);
  }
};

// y = w * x, with zeros between the pixels of x, or some of those of y left out; turned: by the
// kernel turned around.
template <int K>
void convolve(const Sizes &s, const Grid &x_grid, const float *x, const float *w, bool turned,
              const Grid &y_grid, float *y) {
  const int64_t tasks = s.planes(), parts = std::min(8 * cores(), tasks);
  parallel(parts, s.threads(K * K), [&](int64_t part) {
    Long<K> in(s, K - 1), out(s, 0);
    for (int64_t t = part * tasks / parts; t < (part + 1) * tasks / parts; t++) {
      in.fill(x_grid, x + t * x_grid.size(), K / 2 * in.stride + K / 2);
      float taps[K * K];
      std::copy_n(w + t % s.channels * K * K, K * K, taps);
      if (turned) std::reverse(taps, taps + K * K);
      for (int64_t start = 0; start < in.length; start += in.kStep) {
        Vector sum[kSums];
        UNROLL for (auto &v : sum) v = Vector{};
        for (int a = 0; a < K; a++) {
          const float *p = &in.values[start + a * in.stride];
          UNROLL for (int b = 0; b < K; b++)
            UNROLL for (int i = 0; i < kSums; i++)
              sum[i] += taps[a * K + b] * load(p + b + i * kLanes);
        }
        UNROLL for (int i = 0; i < kSums; i++) store(&out.values[start + i * kLanes], sum[i]);
      }
      out.read(y_grid, y + t * y_grid.size());
    }
  });
}

// dw += x * dy for `A` rows of the kernel, both planes as long rows; dw is (A, K, kLanes).
template <int K, int A>
inline void correlate(const Long<K> &x, const float *from, const Long<K> &dy, Vector *dw) {
  Vector sum[A * K];
  UNROLL for (int t = 0; t < A * K; t++) sum[t] = dw[t];
  for (int64_t start = 0; start < dy.length; start += kLanes) {
    const Vector g = load(&dy.values[start]);
    UNROLL for (int a = 0; a < A; a++)
      UNROLL for (int b = 0; b < K; b++) sum[a * K + b] += g * load(from + start + a * x.stride + b);
  }
  UNROLL for (int t = 0; t < A * K; t++) dw[t] = sum[t];
}

template <int K>
void weight_gradient(const Sizes &s, const float *x, const float *dy, float *dw) {
  constexpr int fit = kRegisters / K, rows = fit < 1 ? 1 : fit > K ? K : fit;
  const Grid x_grid(s, 1), y_grid(s, s.step);
  parallel(s.channels, s.threads(K * K), [&](int64_t c) {
    Long<K> in(s, K - 1), out(s, 0);
    Vector sums[K * K] = {};
    for (int64_t n = 0; n < s.batch; n++) {
      const int64_t plane = n * s.channels + c;
      in.fill(x_grid, x + plane * x_grid.size(), K / 2 * in.stride + K / 2);
      out.fill(y_grid, dy + plane * y_grid.size(), 0);
      int a = 0;
      for (; a + rows <= K; a += rows)
        correlate<K, rows>(in, &in.values[a * in.stride], out, &sums[a * K]);
      if constexpr (K % rows)
        correlate<K, K % rows>(in, &in.values[a * in.stride], out, &sums[a * K]);
    }
    for (int t = 0; t < K * K; t++) {
      float sum = 0;
      for (int lane = 0; lane < kLanes; lane++) sum += sums[t][lane];
      dw[c * K * K + t] = sum;
    }
  });
}

// x is (N, C, H, W), w (C, 1, K, K), y as x or, with a step of 2, half as high and wide, rounded
// up. visit is called with K as a type.
template <class Visit>
int with_sizes(const int64_t *x, const int64_t *w, const int64_t *y, const Visit &visit) {
  const Sizes sizes{x[0], x[1], x[2], x[3], y[2] < x[2] || y[3] < x[3] ? 2 : 1};
  const Grid grid(sizes, sizes.step);
  if (w[0] != x[1] || w[1] != 1 || w[2] != w[3]) return kBadSizes;
  if (y[0] != x[0] || y[1] != x[1] || y[2] != grid.height || y[3] != grid.width) return kBadSizes;
  if (sizes.planes() * grid.size() < 1) return kBadSizes;
  return guarded([&] {
    switch (w[2]) {
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
extern "C" int Depthwise(int count, void **params, int *, int64_t **shapes, const char **types,
                         void *, void *) {
  if (count != 3) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  return with_sizes(shapes[0], shapes[1], shapes[2], [&](const Sizes &s, auto k) {
    convolve<k>(s, Grid(s, 1), p[0], p[1], false, Grid(s, s.step), p[2]);
  });
}

// x (for its shape), w, dy -> dx: a convolution of dy with the weights turned around.
extern "C" int DepthwiseGradInput(int count, void **params, int *, int64_t **shapes,
                                  const char **types, void *, void *) {
  if (count != 4) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  return with_sizes(shapes[0], shapes[1], shapes[2], [&](const Sizes &s, auto k) {
    convolve<k>(s, Grid(s, s.step), p[2], p[1], true, Grid(s, 1), p[3]);
  });
}

// x, w (for its shape), dy -> dw
extern "C" int DepthwiseGradWeight(int count, void **params, int *, int64_t **shapes,
                                   const char **types, void *, void *) {
  if (count != 4) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  return with_sizes(shapes[0], shapes[1], shapes[2], [&](const Sizes &s, auto k) {
    weight_gradient<k>(s, p[0], p[2], p[3]);
  });
}
