// A chain as an operator of MindSpore: its arguments, which chain.cc names, and what it is to compute.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "chain.h"
#include "pages.h"

namespace {

constexpr float kMomentum = 0.1;  // what a batch counts in running statistics, MOMENTUM of chain.py

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

// The arguments of an operator, see below; layer l has those from 3 + each * l.
struct Arguments {
  float **p;
  int64_t **shapes;
  int64_t layers, each;

  // Where all layers' arguments end.
  int64_t end() const { return 3 + each * layers; }
  // Whether there is an r.
  bool apart() const { return shapes[1][0] * shapes[1][1] * shapes[1][2] * shapes[1][3] != 1; }

  // The chain, and whether the sizes of its maps, weights and norms fit: `turned` layers, the last ones, are to give gradients of what
  // they read; layer l's maps lie `maps_apart` behind those of the one before, the first behind y; 0: none.
  template <class Map>
  bool build(Chain<Map> &chain, int64_t turned, int64_t maps_apart) const {
    if (shapes[2][0] != 2 + layers) return false;
    int64_t height = shapes[0][1], width = shapes[0][2], in = shapes[0][3];
    chain.batch = shapes[0][0], chain.add_x = p[2][0] != 0, chain.relu = p[2][1] != 0;
    if (chain.batch * height * width * in < 1) return false;
    int64_t sizes[4] = {};
    const auto fits = [&](int64_t k) { return std::equal(sizes, sizes + 4, shapes[k]); };
    for (int64_t l = 0; l < layers; l++) {
      const int64_t at = 3 + each * l, *w = shapes[at], out = w[0], step = p[2][2 + l];
      const bool single = w[1] == 1 && in > 1;
      if (out % kLanes || w[1] != (single ? 1 : in) || (step != 1 && step != 2)) return false;
      if (w[2] != w[3] || w[2] % 2 == 0) return false;
      if (single && (out != in || w[2] < 3 || w[2] > 7)) return false;
      for (int64_t k = 1; k < each; k++)
        if (shapes[at + k][0] != out) return false;
      const bool turn = layers - l <= turned;
      chain.layers.emplace_back(p[at], in, out, w[2], step, height, width, single, turn,
                                std::is_same_v<Map, uint16_t>);
      chain.gammas.push_back(p[at + 1]), chain.betas.push_back(p[at + 2]);
      height = chain.layers[l].out_height(), width = chain.layers[l].out_width(), in = out;
      sizes[0] = chain.batch, sizes[1] = height, sizes[2] = width, sizes[3] = in;
      if (maps_apart && !fits(end() + 1 + l * maps_apart)) return false;
    }
    chain.scales.resize(layers);
    return fits(end()) && (!apart() || fits(1)) && !(chain.add_x && chain.layers[0].in != in);
  }
};

template <class Map>
int infer(int count, void **params, int64_t **shapes) {
  const Arguments a{reinterpret_cast<float **>(params), shapes, (count - 4) / 5, 5};
  if (a.layers < 1 || count != 4 + 5 * a.layers) return kBadCount;
  Chain<Map> chain{};
  if (!a.build(chain, 0, 0)) return kBadSizes;
  for (int64_t l = 0; l < a.layers; l++) {
    chain.means.push_back(a.p[6 + 5 * l]), chain.variances.push_back(a.p[7 + 5 * l]);
  }
  chain.infer(a.p[0], a.apart() ? a.p[1] : nullptr, a.p[a.end()]);
  return kDone;
}

template <class Map>
int forward(int count, void **params, int64_t **shapes) {
  const Arguments a{reinterpret_cast<float **>(params), shapes, (count - 4) / 10, 5};
  if (a.layers < 1 || count != 4 + 10 * a.layers) return kBadCount;
  Chain<Map> chain{};
  if (!a.build(chain, 0, 5)) return kBadSizes;
  std::vector<Map *> maps;
  std::vector<float *> mean, variance;
  float **const results = a.p + a.end() + 1;
  for (int64_t l = 0; l < a.layers; l++) {
    maps.push_back(reinterpret_cast<Map *>(results[5 * l]));
    mean.push_back(results[5 * l + 1]), variance.push_back(results[5 * l + 2]);
  }
  chain.maps.assign(maps.begin(), maps.end()), chain.means.assign(mean.begin(), mean.end());
  chain.variances.assign(variance.begin(), variance.end());
  float *y = a.p[a.end()];
  chain.forward(a.p[0], a.apart() ? a.p[1] : nullptr, y, maps.data(), mean.data(), variance.data());
  for (int64_t l = 0; l < a.layers; l++) {
    const auto &layer = chain.layers[l];
    const int64_t values = chain.batch * layer.out_pixels();
    track(layer.out, values, mean[l], variance[l], a.p + 6 + 5 * l, results + 5 * l + 3);
  }
  return kDone;
}

template <class Map>
int backward(int count, void **params, int64_t **shapes, bool to_x) {
  const Arguments a{reinterpret_cast<float **>(params), shapes, (count - 6) / 10, 3};
  if (a.layers < 1 || count != 6 + 10 * a.layers) return kBadCount;
  Chain<Map> chain{};
  if (!a.build(chain, a.layers - !to_x, 3)) return kBadSizes;
  float **const maps = a.p + a.end() + 1, **const dy = maps + 3 * a.layers;
  std::vector<float *> dw, dgamma, dbeta;
  for (int64_t l = 0; l < a.layers; l++) {
    chain.maps.push_back(reinterpret_cast<Map *>(maps[3 * l]));
    chain.means.push_back(maps[3 * l + 1]);
    chain.variances.push_back(maps[3 * l + 2]);
    float **const results = dy + 3 + 3 * l;  // behind dy, dx, dr
    dw.push_back(results[0]), dgamma.push_back(results[1]), dbeta.push_back(results[2]);
  }
  chain.backward(a.p[0], a.p[a.end()], dy[0], to_x ? dy[1] : nullptr, a.apart() ? dy[2] : nullptr,
                 dw.data(), dgamma.data(), dbeta.data(),
                 reinterpret_cast<Map *const *>(dy + 3 + 3 * a.layers));
  return kDone;
}

// `halves` arguments are bfloat16, which MindSpore takes for uint16, all others float32.
template <class Compute>
int checked(int count, void **params, int *dimensions, int64_t **shapes, const char **types,
            int halves, const Compute &compute) {
  const auto is = [=](const char *name) { return [=](auto t) { return !std::strcmp(t, name); }; };
  if (std::count_if(types, types + count, is("uint16")) != halves) return kBadTypes;
  if (std::count_if(types, types + count, is("float32")) != count - halves) return kBadTypes;
  return guarded([&] {
    ask_for_large_pages(count, params, dimensions, shapes, types);
    return compute();
  });
}

}  // namespace
