// All that follows a convolution in training, as one operator: BatchNorm with the statistics of the
// batch, 2x2 max pooling, ReLU, and the weighted sum over agents (equations 1, 2 and 9).
//
//     y[n, c] = sum over a of weights[a] * relu(pool(norm(x[n, a * C + c])))
//
// Apart, these operators read and write whole maps many times over. Here nothing but x is read and
// nothing but y is written; the gradient recomputes the norm of x rather than keep it.
//
// A task owns whole channels and adds up in a fixed order, so the result does not depend on the
// number of threads, to the last bit. Odd sizes are cut off by the pooling but count in the
// statistics. The first of equal values in a window gets the gradient, as with MaxPool. NaN stays
// NaN: one makes the mean of its channel NaN, and with it the whole channel.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../native.h"

namespace {

constexpr double kEpsilon = 1e-5;         // of nn.BatchNorm2d
constexpr int64_t kChunk = 4096;          // values that stay in the first-level cache
constexpr int64_t kBlock = 8192;          // values that one task reads in a row: some channels
constexpr int64_t kThreadWork = 1 << 15;  // values for which one more thread is worth its start

struct Sizes {
  int64_t batch, agents, channels, height, width;
  bool pool;

  bool empty() const { return batch * agents * channels * plane() < 1; }
  int64_t plane() const { return height * width; }
  int64_t rows() const { return pool ? height / 2 : 1; }  // without pooling, a plane is one row
  int64_t columns() const { return pool ? width / 2 : plane(); }
  int64_t index(int64_t agent, int64_t channel) const { return agent * channels + channel; }
  int64_t x(int64_t n, int64_t agent, int64_t channel) const {
    return (n * agents * channels + index(agent, channel)) * plane();
  }
  int64_t y(int64_t n, int64_t channel) const {
    return (n * channels + channel) * rows() * columns();
  }
};

// A task's output channels, for every agent.
struct Block {
  const Sizes &sizes;
  int64_t first, last;

  template <class Visit>  // visit(agent, channel)
  void channels(const Visit &visit) const {
    for (int64_t a = 0; a < sizes.agents; a++)
      for (int64_t c = first; c < last; c++) visit(a, c);
  }
  template <class Visit>  // visit(n, agent, channel)
  void planes(const Visit &visit) const {
    for (int64_t n = 0; n < sizes.batch; n++)
      channels([&](int64_t a, int64_t c) { visit(n, a, c); });
  }
};

// Calls task(block) for all blocks, on as many threads as pay.
template <class Task>
void for_blocks(const Sizes &sizes, const Task &task) {
  const int64_t size = std::clamp<int64_t>(kBlock / sizes.plane(), 1, sizes.channels);
  const int64_t values = sizes.batch * sizes.agents * sizes.channels * sizes.plane();
  parallel((sizes.channels + size - 1) / size, values / kThreadWork, [&](int64_t i) {
    task(Block{sizes, i * size, std::min((i + 1) * size, sizes.channels)});
  });
}

// Mean and squared deviations of a growing number of values (Chan, Golub & LeVeque 1983).
struct Moments {
  double count = 0, mean = 0, squares = 0;

  void add(const float *x, int64_t size) {
    float sum = 0, rest = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; i++) sum += x[i];
    const float centre = sum / size;
#pragma omp simd reduction(+ : rest)
    for (int64_t i = 0; i < size; i++) rest += (x[i] - centre) * (x[i] - centre);
    const double delta = centre - mean, total = count + size;
    squares += rest + delta * delta * count * size / total;
    mean += delta * size / total;
    count = total;
  }
};

// BatchNorm of one channel.
struct Norm {
  float mean, scale, beta;
  double deviation;

  Norm() = default;
  Norm(float mean, float variance, float gamma, float beta)
      : mean(mean), beta(beta), deviation(std::sqrt(variance + kEpsilon)) {
    scale = gamma / deviation;
  }
  float operator()(float x) const { return scale * (x - mean) + beta; }
};

inline float larger(float a, float b) { return b > a ? b : a; }

// y = weight * relu(pool(norm(x))), or y += with add; one plane.
template <bool pool, bool add>
void apply(const Sizes &s, const Norm norm, float weight, const float *__restrict x,
           float *__restrict y) {
  for (int64_t row = 0, columns = s.columns(); row < s.rows(); row++, y += columns) {
    const float *p = x + 2 * row * s.width, *q = p + s.width;
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) {
      float z = pool ? larger(larger(norm(p[2 * j]), norm(p[2 * j + 1])),
                              larger(norm(q[2 * j]), norm(q[2 * j + 1])))
                     : norm(p[j]);
      z = weight * (z < 0 ? 0 : z);
      y[j] = add ? y[j] + z : z;
    }
  }
}

struct Sums {
  double plain = 0, product = 0;  // of g, and of g * (x - mean); g is dy where pool and relu let it
};

template <bool pool>
void reduce(const Sizes &s, const Norm norm, const float *__restrict x, const float *__restrict dy,
            Sums &sums) {
  float plain = 0, product = 0;
  for (int64_t row = 0, columns = s.columns(); row < s.rows(); row++, dy += columns) {
    const float *p = x + 2 * row * s.width, *q = p + s.width;
#pragma omp simd reduction(+ : plain, product)
    for (int64_t j = 0; j < columns; j++) {
      float best = pool ? p[2 * j] : p[j], z = norm(best);
      if (pool) {
        const float b = p[2 * j + 1], c = q[2 * j], d = q[2 * j + 1];
        const float zb = norm(b), zc = norm(c), zd = norm(d);
        best = zb > z ? b : best, z = larger(z, zb);
        best = zc > z ? c : best, z = larger(z, zc);
        best = zd > z ? d : best, z = larger(z, zd);
      }
      const float g = z <= 0 ? 0 : dy[j];
      plain += g;
      product += g * (best - norm.mean);
    }
  }
  sums.plain += plain;
  sums.product += product;
}

// dx = gain * g + slope * (x - mean) + offset; one plane.
template <bool pool>
void spread(const Sizes &s, const Norm norm, float gain, float slope, float offset,
            const float *__restrict x, const float *__restrict dy, float *__restrict dx) {
  auto base = [=](float value) { return slope * (value - norm.mean) + offset; };
  if (!pool) {
#pragma omp simd
    for (int64_t j = 0; j < s.plane(); j++)
      dx[j] = base(x[j]) + (norm(x[j]) <= 0 ? 0 : gain * dy[j]);
    return;
  }
  for (int64_t row = 0, columns = s.columns(); row < s.rows(); row++, dy += columns) {
    const int64_t start = 2 * row * s.width;
    const float *p = x + start, *q = p + s.width;
    float *dp = dx + start, *dq = dp + s.width;
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) {
      const float a = p[2 * j], b = p[2 * j + 1], c = q[2 * j], d = q[2 * j + 1];
      const float za = norm(a), zb = norm(b), zc = norm(c), zd = norm(d);
      const float top = larger(za, zb), low = larger(zc, zd);
      const float g = larger(top, low) <= 0 ? 0 : gain * dy[j];
      const float up = low > top ? 0 : g, down = low > top ? g : 0;
      dp[2 * j] = base(a) + (zb > za ? 0 : up);
      dp[2 * j + 1] = base(b) + (zb > za ? up : 0);
      dq[2 * j] = base(c) + (zd > zc ? 0 : down);
      dq[2 * j + 1] = base(d) + (zd > zc ? down : 0);
    }
    if (s.width % 2) dp[s.width - 1] = base(p[s.width - 1]), dq[s.width - 1] = base(q[s.width - 1]);
  }
  for (int64_t i = 2 * s.rows() * s.width; i < s.plane(); i++) dx[i] = base(x[i]);
}

template <bool pool>
void forward(const Sizes &s, const float *x, const float *gamma, const float *beta,
             const float *weights, float *y, float *mean, float *variance) {
  std::vector<Moments> moments(s.agents * s.channels);
  std::vector<Norm> norms(moments.size());
  for_blocks(s, [&](const Block &block) {
    block.planes([&](int64_t n, int64_t a, int64_t c) {
      for (int64_t i = 0; i < s.plane(); i += kChunk)
        moments[s.index(a, c)].add(x + s.x(n, a, c) + i, std::min(kChunk, s.plane() - i));
    });
    block.channels([&](int64_t a, int64_t c) {
      const int64_t k = s.index(a, c);
      mean[k] = moments[k].mean;
      variance[k] = moments[k].squares / moments[k].count;
      norms[k] = {mean[k], variance[k], gamma[k], beta[k]};
    });
    block.planes([&](int64_t n, int64_t a, int64_t c) {
      const Norm norm = norms[s.index(a, c)];
      if (a)
        apply<pool, true>(s, norm, weights[a], x + s.x(n, a, c), y + s.y(n, c));
      else
        apply<pool, false>(s, norm, weights[a], x + s.x(n, a, c), y + s.y(n, c));
    });
  });
}

template <bool pool>
void backward(const Sizes &s, const float *x, const float *gamma, const float *beta,
              const float *weights, const float *mean, const float *variance, const float *dy,
              float *dx, float *dgamma, float *dbeta, float *dweights) {
  const double count = s.batch * s.plane();
  std::vector<Norm> norms(s.agents * s.channels);
  std::vector<Sums> sums(norms.size());
  for_blocks(s, [&](const Block &block) {
    block.channels([&](int64_t a, int64_t c) {
      const int64_t k = s.index(a, c);
      norms[k] = {mean[k], variance[k], gamma[k], beta[k]};
    });
    block.planes([&](int64_t n, int64_t a, int64_t c) {
      const int64_t k = s.index(a, c);
      reduce<pool>(s, norms[k], x + s.x(n, a, c), dy + s.y(n, c), sums[k]);
    });
    block.channels([&](int64_t a, int64_t c) {
      const int64_t k = s.index(a, c);
      dbeta[k] = weights[a] * sums[k].plain;
      dgamma[k] = weights[a] * sums[k].product / norms[k].deviation;
    });
    block.planes([&](int64_t n, int64_t a, int64_t c) {
      const int64_t k = s.index(a, c);
      const double step = -norms[k].scale / count;
      spread<pool>(s, norms[k], weights[a] * norms[k].scale, step * dgamma[k] / norms[k].deviation,
                   step * dbeta[k], x + s.x(n, a, c), dy + s.y(n, c), dx + s.x(n, a, c));
    });
  });
  for (int64_t a = 0; a < s.agents; a++) {  // where g is not 0, relu(norm(x)) is norm(x)
    double sum = 0;
    for (int64_t k = s.index(a, 0); k < s.index(a + 1, 0); k++)
      sum += gamma[k] * sums[k].product / norms[k].deviation + beta[k] * sums[k].plain;
    dweights[a] = sum;
  }
}

Sizes sizes_of(const int64_t *x, const int64_t *weights, const int64_t *y) {
  return {x[0], weights[0], y[1], x[2], x[3], y[2] != x[2]};
}

}  // namespace

// MindSpore's interface of an ahead-of-time operator, see native.h.

// x (N, A*C, H, W), gamma, beta (A*C,), weights (A,) -> y (N, C, H, W) or (N, C, H/2, W/2),
// mean, variance (A*C,), biased.
extern "C" int Epilogue(int count, void **params, int *, int64_t **shapes, const char **types,
                        void *, void *) {
  if (count != 7) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  const Sizes sizes = sizes_of(shapes[0], shapes[3], shapes[4]);
  if (sizes.empty()) return kBadSizes;
  return guarded([&] {
    (sizes.pool ? forward<true> : forward<false>)(sizes, p[0], p[1], p[2], p[3], p[4], p[5], p[6]);
    return kDone;
  });
}

// x, gamma, beta, weights, mean, variance, dy -> dx, dgamma, dbeta, dweights.
extern "C" int EpilogueGrad(int count, void **params, int *, int64_t **shapes, const char **types,
                            void *, void *) {
  if (count != 11) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  const Sizes sizes = sizes_of(shapes[0], shapes[3], shapes[6]);
  if (sizes.empty()) return kBadSizes;
  return guarded([&] {
    (sizes.pool ? backward<true> : backward<false>)(sizes, p[0], p[1], p[2], p[3], p[4], p[5], p[6],
                                                    p[7], p[8], p[9], p[10]);
    return kDone;
  });
}
