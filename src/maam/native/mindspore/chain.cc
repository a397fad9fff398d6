// Layers that follow each other as one operator of MindSpore: chain.h computes.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../chain.h"
#include "../pages.h"

namespace {

constexpr float kMomentum = 0.1;  // what a batch counts in running statistics, MOMENTUM of chain.py

// What an operator is to compute.
enum Task { kValue, kGradients, kGradientsButDx };

// The running statistics after a batch of which a channel has `count` values; they keep the unbiased
// variance.
void track(int64_t channels, int64_t count, const float *mean, const float *variance,
           const float *const *before, float *const *after) {
  const float unbiased = count / std::max<double>(count - 1, 1);
  for (int64_t c = 0; c < channels; c++) {
    after[0][c] = before[0][c] + kMomentum * (mean[c] - before[0][c]);
    after[1][c] = before[1][c] + kMomentum * (unbiased * variance[c] - before[1][c]);
  }
}

// Reads the arguments, see below, and computes.
int with_chain(int count, void **params, int *dimensions, int64_t **shapes, const char **types,
               Task task) {
  const bool backward = task != kValue;
  const int64_t n = (count - 4) / 10, each = backward ? 3 : 5;  // arguments and results of a layer
  if (n < 1 || count != (backward ? 6 : 4) + 10 * n) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  const int64_t *r = shapes[1], y = 3 + each * n, maps = y + 1;
  int64_t height = shapes[0][1], width = shapes[0][2], in = shapes[0][3];
  Chain chain{shapes[0][0], p[2][0] != 0, p[2][1] != 0, {}, {}, {}, {}, {}, {}, {}};
  chain.scales.resize(n);
  if (chain.batch * height * width * in < 1) return kBadSizes;
  return guarded([&] {
    ask_for_large_pages(count, params, dimensions, shapes);
    std::vector<float *> a, mean, variance, dw, dgamma, dbeta;
    for (int64_t l = 0; l < n; l++) {
      const int64_t at = each * l, *w = shapes[3 + at], *to = shapes[maps + at];
      const int64_t out = w[0], step = to[1] < height || to[2] < width ? 2 : 1;
      const bool single = w[1] == 1 && in > 1, turned = backward && (l || task == kGradients);
      if (out % kLanes || to[3] != out || w[1] != (single ? 1 : in)) return kBadSizes;
      if (w[2] != w[3] || w[2] % 2 == 0) return kBadSizes;
      if (single && (out != in || w[2] < 3 || w[2] > 7)) return kBadSizes;
      chain.layers.emplace_back(p[3 + at], in, out, w[2], step, height, width, single, turned);
      height = chain.layers[l].out_height(), width = chain.layers[l].out_width(), in = out;
      if (to[1] != height || to[2] != width) return kBadSizes;
      chain.gammas.push_back(p[4 + at]), chain.betas.push_back(p[5 + at]);
      a.push_back(p[maps + at]), mean.push_back(p[maps + at + 1]);
      variance.push_back(p[maps + at + 2]);
      if (!backward) continue;
      float **const results = p + maps + 3 * n + 3 + at;  // behind dy, dx, dr
      dw.push_back(results[0]), dgamma.push_back(results[1]), dbeta.push_back(results[2]);
    }
    chain.maps.assign(a.begin(), a.end()), chain.means.assign(mean.begin(), mean.end());
    chain.variances.assign(variance.begin(), variance.end());
    const bool apart = r[0] == chain.batch && r[1] == height && r[2] == width && r[3] == in;
    if (!apart && r[0] * r[1] * r[2] * r[3] != 1) return kBadSizes;
    if (chain.add_x && chain.layers[0].in != in) return kBadSizes;
    if (!backward) {
      chain.forward(p[0], apart ? p[1] : nullptr, p[y], a.data(), mean.data(), variance.data());
      for (int64_t l = 0; l < n; l++) {
        const auto &layer = chain.layers[l];
        const int64_t values = chain.batch * layer.out_height() * layer.out_width();
        track(layer.out, values, mean[l], variance[l], p + 6 + each * l, p + maps + each * l + 3);
      }
      return kDone;
    }
    float **const dy = p + maps + 3 * n;
    chain.backward(p[0], p[y], dy[0], task == kGradients ? dy[1] : nullptr,
                   apart ? dy[2] : nullptr, dw.data(), dgamma.data(), dbeta.data(), dy + 3 + 3 * n);
    return kDone;
  });
}

}  // namespace

// MindSpore's interface of an ahead-of-time operator, see native.h.

// x (N, H, W, C), r as y or (1, 1, 1, 1) for none, form (whether to add x, whether the last ReLU is
// there), and of each layer w (O, I, K, K) or (O, 1, K, K), gamma, beta, running mean and variance
// (O,) -> y (N, H', W', O), and of each layer a (N, H', W', O), mean, biased variance, and the running
// ones after this batch (O,).
extern "C" int ChainForward(int count, void **params, int *dimensions, int64_t **shapes, const char **types,
                            void *, void *) {
  return with_chain(count, params, dimensions, shapes, types, kValue);
}

// All of these but the running statistics, before and after, and dy -> dx, dr, of each layer dw, dgamma,
// dbeta; and as room to work in, as a of each layer but the last.
extern "C" int ChainGrad(int count, void **params, int *dimensions, int64_t **shapes, const char **types,
                         void *, void *) {
  return with_chain(count, params, dimensions, shapes, types, kGradients);
}

// The same without dx, which costs as much as the first layer itself.
extern "C" int ChainGradButInput(int count, void **params, int *dimensions, int64_t **shapes,
                                 const char **types, void *, void *) {
  return with_chain(count, params, dimensions, shapes, types, kGradientsButDx);
}
