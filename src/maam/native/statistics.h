// BatchNorm of maps with channels last: the statistics of images, and norm and ReLU themselves.

#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "products.h"

namespace {

constexpr double kEpsilon = 1e-5;  // of nn.BatchNorm2d

// BatchNorm of the channels of a layer.
struct Norm {
  const float *mean, *scale, *beta;

  Vector operator()(Vector x, int64_t c) const {
    return load(scale + c) * (x - load(mean + c)) + load(beta + c);
  }
};

inline Vector relu(Vector x) { return x < 0 ? Vector{} : x; }  // NaN stays NaN
inline Vector where_positive(Vector z, Vector g) { return z <= 0 ? Vector{} : g; }

// Calls visit(offset, c, first, second) for all pixels of an image, which adds to two sums of a
// vector of channels; adds these to `sums`, (2, channels).
template <class Visit>
inline void reduce(int64_t pixels, int64_t channels, double *sums, const Visit visit) {
  with_vectors<4>(channels, [&](auto v) {
    constexpr int V = v;
    for (int64_t c = 0; c < channels; c += V * kLanes) {
      Vector found[V][2] = {};
      for (int64_t i = c; i < pixels * channels; i += channels)
        UNROLL for (int v = 0; v < V; v++)
          visit(i + v * kLanes, c + v * kLanes, found[v][0], found[v][1]);
      for (int v = 0; v < V; v++)
        for (int64_t lane = 0; lane < kLanes; lane++) {
          sums[c + v * kLanes + lane] += found[v][0][lane];
          sums[channels + c + v * kLanes + lane] += found[v][1][lane];
        }
    }
  });
}

// Mean and squared deviations of the channels of a growing number of images (Chan, Golub & LeVeque
// 1983).
struct Moments {
  double count = 0;
  std::vector<double> mean, squares;

  explicit Moments(int64_t channels) : mean(channels), squares(channels) {}
  void merge(int64_t c, double more, double its_mean, double its_squares) {
    const double delta = its_mean - mean[c], total = count + more;
    squares[c] += its_squares + delta * delta * count * more / total;
    mean[c] += delta * more / total;
  }
  template <class Map>
  void add(const Map *image, int64_t pixels, int64_t channels) {
    std::vector<double> sums(2 * channels), rest(2 * channels);
    reduce(pixels, channels, sums.data(), [=](int64_t k, int64_t, Vector &sum, Vector &) {
      sum += load(image + k);
    });
    std::vector<float> centre(channels);
    for (int64_t c = 0; c < channels; c++) centre[c] = sums[c] / pixels;
    const float *middle = centre.data();
    reduce(pixels, channels, rest.data(), [=](int64_t k, int64_t c, Vector &sum, Vector &square) {
      const Vector deviation = load(image + k) - load(middle + c);
      sum += deviation;
      square += deviation * deviation;
    });
    for (int64_t c = 0; c < channels; c++) {
      const double off = rest[c] / pixels;  // what rounding has left of the mean
      merge(c, pixels, centre[c] + off, rest[channels + c] - off * rest[c]);
    }
    count += pixels;
  }
  void add(const Moments &other) {
    if (!other.count) return;
    for (size_t c = 0; c < mean.size(); c++)
      merge(c, other.count, other.mean[c], other.squares[c]);
    count += other.count;
  }
};

}  // namespace
