// The gradients of BatchNorm with the statistics of the batch, and of the ReLU after it, for PyTorch
// on a CPU: maps in the channels-last layout (pixels, C) as bfloat16 or float32, all else float32.
//
//     y[p, c] = relu(gamma[c] * scale[c] * (x[p, c] - mean[c]) + beta[c])
//
// PyTorch's own take several times as long. Here x and dy are read twice and dx is written once, and
// ReLU's input is computed anew rather than kept.
//
// Every number is summed up in an order that does not depend on the number of threads.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "../native.h"
#include "../vectors.h"

namespace {

constexpr int64_t kValues = 1 << 15;      // that one task reads in a row: some pixels
constexpr int64_t kThreadWork = 1 << 18;  // values for which one more thread is worth its start

struct Norm {
  const float *mean, *scale, *gamma, *beta;
};

// Some vectors of the channels of BatchNorm.
template <int V, bool relu>
struct Lanes {
  int64_t count;  // channels of each vector
  Vector mean[V], slope[V], beta[V];

  Lanes(const Norm &norm, int64_t first, int64_t count) : count(count) {
    for (int v = 0; v < V; v++, first += kLanes) {
      mean[v] = load_some(norm.mean + first, count);
      slope[v] = load_some(norm.gamma + first, count) * load_some(norm.scale + first, count);
      beta[v] = load_some(norm.beta + first, count);
    }
  }

  // visit(v, x - mean, dy where ReLU let y pass) for each vector of a pixel.
  template <class T, class Visit>
  inline void pixel(const T *x, const T *dy, const Visit &visit) const {
    UNROLL for (int v = 0; v < V; v++) {
      const int64_t some = V > 1 ? kLanes : count;  // known when compiled, if they are several
      const Vector centred = load_some(x + v * kLanes, some) - mean[v];
      const Vector g = load_some(dy + v * kLanes, some);
      const auto shut = slope[v] * centred + beta[v] <= 0;
      visit(v, centred, relu ? keep(g, ~reinterpret_cast<const Bits &>(shut)) : g);
    }
  }
  static Vector keep(Vector v, Bits bits) {
    return reinterpret_cast<Vector>(reinterpret_cast<Bits>(v) & bits);
  }
};

struct Map {
  int64_t pixels, channels, most;  // threads

  // task(first pixel, last pixel, number of the part), on as many threads as pay.
  template <class Task>
  void for_parts(const Task &task) const {
    parallel(parts(), std::min(most, pixels * channels / kThreadWork), [&](int64_t part) {
      task(part * step(), std::min(pixels, (part + 1) * step()), part);
    });
  }
  // visit(how many vectors, first channel, channels of each vector) for all channels.
  template <class Visit>
  void for_channels(const Visit &visit) const {
    int64_t c = 0;
    for (; channels - c >= 4 * kLanes; c += 4 * kLanes)
      visit(std::integral_constant<int, 4>(), c, kLanes);
    for (; channels - c >= 2 * kLanes; c += 2 * kLanes)
      visit(std::integral_constant<int, 2>(), c, kLanes);
    for (; c < channels; c += kLanes)
      visit(std::integral_constant<int, 1>(), c, std::min<int64_t>(kLanes, channels - c));
  }
  int64_t step() const { return std::max<int64_t>(1, kValues / channels); }
  int64_t parts() const { return (pixels + step() - 1) / step(); }
};

template <bool relu, class T>
void backward(const Map &map, const T *x, const T *dy, const Norm &norm, T *dx, float *dgamma,
              float *dbeta) {
  const int64_t wide = map.channels;
  std::vector<float> sums(map.parts() * 2 * wide);  // of g, and of g * (x - mean), for each part
  map.for_parts([&](int64_t begin, int64_t end, int64_t part) {
    map.for_channels([&](auto vectors, int64_t first, int64_t count) {
      const Lanes<vectors, relu> lanes(norm, first, count);
      Vector plain[vectors] = {}, product[vectors] = {};
      for (int64_t at = begin * wide + first; at < end * wide; at += wide)
        lanes.pixel(x + at, dy + at, [&](int v, Vector centred, Vector g) {
          plain[v] += g;
          product[v] += g * centred;
        });
      float *to = &sums[part * 2 * wide + first];
      for (int v = 0; v < vectors; v++, to += kLanes) {
        store_some(to, plain[v], count);
        store_some(to + wide, product[v], count);
      }
    });
  });
  std::vector<float> gain(wide), slope(wide), offset(wide);
  for (int64_t c = 0; c < wide; c++) {
    double plain = 0, product = 0;
    for (int64_t part = 0; part < map.parts(); part++) {
      plain += sums[part * 2 * wide + c];
      product += sums[(part * 2 + 1) * wide + c];
    }
    const double scale = norm.scale[c];
    dbeta[c] = plain;
    dgamma[c] = product * scale;
    gain[c] = norm.gamma[c] * scale;
    offset[c] = -gain[c] * plain / map.pixels;
    slope[c] = -gain[c] * scale * scale * product / map.pixels;
  }
  map.for_parts([&](int64_t begin, int64_t end, int64_t) {
    map.for_channels([&](auto vectors, int64_t first, int64_t count) {
      const Lanes<vectors, relu> lanes(norm, first, count);
      Vector a[vectors], b[vectors], c[vectors];
      for (int v = 0; v < vectors; v++) {
        a[v] = load_some(&gain[first + v * kLanes], count);
        b[v] = load_some(&slope[first + v * kLanes], count);
        c[v] = load_some(&offset[first + v * kLanes], count);
      }
      for (int64_t at = begin * wide + first; at < end * wide; at += wide)
        lanes.pixel(x + at, dy + at, [&](int v, Vector centred, Vector g) {
          store_some(dx + at + v * kLanes, a[v] * g + b[v] * centred + c[v],
                     vectors > 1 ? kLanes : count);
        });
    });
  });
}

template <class T>
int run(const Map &map, bool relu, const void *x, const void *dy, const Norm &norm, void *dx,
        float *dgamma, float *dbeta) {
  const auto from = static_cast<const T *>(x), up = static_cast<const T *>(dy);
  (relu ? backward<true, T> : backward<false, T>)(map, from, up, norm, static_cast<T *>(dx), dgamma,
                                                  dbeta);
  return kDone;
}

}  // namespace

// Called through ctypes. sizes: pixels, C, whether ReLU follows, how many threads there may be;
// `half`: maps are bfloat16, else float32; norm: mean, scale, gamma, beta (4, C); sums: dgamma, dbeta
// (2, C). Returns an Outcome.
extern "C" int norm_gradient(const int64_t *sizes, int half, const void *x, const void *dy,
                             const float *norm, void *dx, float *sums) {
  const Map map{sizes[0], sizes[1], sizes[3]};
  const int64_t wide = map.channels;
  if (map.pixels < 1 || wide < 1) return kBadSizes;
  const Norm four{norm, norm + wide, norm + 2 * wide, norm + 3 * wide};
  return guarded([&] {
    return (half ? run<uint16_t> : run<float>)(map, sizes[2], x, dy, four, dx, sums, sums + wide);
  });
}
