// Convolutions of one image with channels last, and their gradients, as sums of products in
// registers. Maps are (height, width, channels), float32; channels of results are whole vectors.

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace {

#ifdef __AVX512F__  // 32 registers
constexpr int kMostVectors = 3;
constexpr int kTile = 8;
constexpr int kRegisters = 24;
#else  // at least 16
constexpr int kMostVectors = 2;
constexpr int kTile = 4;
constexpr int kRegisters = 9;
#endif
// Results of `vectors` vectors each that are summed up at once: with fewer, sums wait for each other.
constexpr int results_of(int vectors) { return vectors == 1 ? 2 * kTile : kTile < 8 ? 6 : kTile; }
typedef std::integral_constant<int64_t, 1> One;

// Numbers that begin at a cache line.
class Buffer {
 public:
  explicit Buffer(int64_t size = 0) : values_(size + kLine) {}
  float *get() {
    const auto address = reinterpret_cast<uintptr_t>(values_.data());
    return values_.data() + (kLine - address / 4 % kLine) % kLine;
  }

 private:
  static constexpr int64_t kLine = 16;
  std::vector<float> values_;
};

// sum[t][v] += over k of a[t * step + k * next] * b[k * row + v], v a vector. One of step and next
// is 1, known to the compiler.
template <int T, int V, class Number, class Step, class Next>
inline __attribute__((always_inline)) void add_products(Vector (&sum)[T][V], const Number *a,
                                                        Step step, Next next, const Number *b,
                                                        int64_t row, int64_t count) {
  for (int64_t k = 0; k < count; k++, b += row) {
    decltype(load(b)) right[V];
    UNROLL for (int v = 0; v < V; v++) right[v] = load(b + v * kLanes);
    UNROLL for (int t = 0; t < T; t++)
      UNROLL for (int v = 0; v < V; v++)
        sum[t][v] = multiply_add(sum[t][v], a[t * step + k * next], right[v]);
  }
}

// How many vectors of channels a tile has: what divides all, `most` at most.
inline int vectors_of(int64_t channels, int most = kMostVectors) {
  while (channels / kLanes % most) most--;
  return most;
}

// Calls visit with vectors_of as a type.
template <int most = kMostVectors, class Visit>
inline void with_vectors(int64_t channels, const Visit &visit) {
  if constexpr (most > 1)
    if (vectors_of(channels, most) < most) return with_vectors<most - 1>(channels, visit);
  visit(std::integral_constant<int, most>());
}

// Cuts `count` into equal parts, of `most` at most, and calls visit(size as a type, begin) for each.
template <int most, class Visit>
inline void in_parts(int64_t count, const Visit &visit, int64_t begin = 0) {
  while (begin < count) {
    const int64_t left = count - begin, parts = (left + most - 1) / most;
    if constexpr (most > 1)
      if ((left + parts - 1) / parts < most) return in_parts<most - 1>(count, visit, begin);
    visit(std::integral_constant<int, most>(), begin);
    begin += most;
  }
}

// A piece of a kernel: where its input begins, and so many numbers of it; and its weights.
template <class Number>
struct Piece {
  int64_t offset, count;
  const Number *weights;
};

// Results in rows and columns, and how far apart they and their inputs lie.
template <class Number>
struct Walk {
  int64_t rows, columns, out_row, out_column, in_row, in_column;
  std::vector<Piece<Number>> kernel;
};

template <int T, int V, class Number, class Map>
inline void tile(const Walk<Number> &walk, const Number *x, int64_t shift, Map *y) {
  Vector sum[T][V];
  UNROLL for (auto &line : sum) UNROLL for (auto &v : line) v = Vector{};
  for (const auto &piece : walk.kernel)
    add_products(sum, x + piece.offset, walk.in_column, One(), piece.weights + shift, V * kLanes,
                 piece.count);
  UNROLL for (int t = 0; t < T; t++)
    UNROLL for (int v = 0; v < V; v++) store(y + t * walk.out_column + v * kLanes, sum[t][v]);
}

// y = kernel times x. Weights are (blocks of `out`, run, V * kLanes), a run is all numbers of a row of
// the kernel.
template <class Number, class Map>
inline void convolve(const Walk<Number> &walk, const Number *x, int64_t run, int64_t out, Map *y) {
  with_vectors(out, [&](auto v) {
    constexpr int V = v;
    for (int64_t o = 0; o < out; o += V * kLanes)
      for (int64_t i = 0; i < walk.rows; i++)
        in_parts<results_of(V)>(walk.columns, [&](auto t, int64_t j) {
          tile<t, V>(walk, x + i * walk.in_row + j * walk.in_column, o * run,
                     y + o + i * walk.out_row + j * walk.out_column);
        });
  });
}

// dw (in, out) += over rows and columns of x (.., in) times dy (.., out).
template <class Number>
inline void add_weights(const Walk<Number> &walk, const Number *x, const Number *dy, int64_t in,
                        int64_t out, float *dw) {
  with_vectors(out, [&](auto v) {
    constexpr int V = v;
    const auto block = [&](auto t, int64_t c, int64_t o) {
      constexpr int T = t;
      float *to = dw + c * out + o;
      Vector sum[T][V];
      UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int v = 0; v < V; v++) sum[t][v] = load(to + t * out + v * kLanes);
      for (int64_t i = 0; i < walk.rows; i++)
        add_products(sum, x + c + i * walk.in_row, One(), walk.in_column,
                     dy + o + i * walk.out_row, walk.out_column, walk.columns);
      UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int v = 0; v < V; v++) store(to + t * out + v * kLanes, sum[t][v]);
    };
    for (int64_t o = 0; o < out; o += V * kLanes)
      in_parts<results_of(V)>(in, [&](auto t, int64_t c) { block(t, c, o); });
  });
}

// Depthwise, of one vector of channels, which lie together in x: y = kernel times x, T pixels that
// lie S apart in x, `channels` numbers in y. w is (K, K, channels).
template <int K, int S, int T, class Map>
inline void depthwise_tile(const float *x, int64_t row, const float *w, int64_t channels, Map *y) {
  Vector sum[T] = {};
  for (int a = 0; a < K; a++, x += row) {
    Vector line[(T - 1) * S + K];
    UNROLL for (int j = 0; j < (T - 1) * S + K; j++) line[j] = load(x + j * kLanes);
    UNROLL for (int b = 0; b < K; b++) {
      const Vector weight = load(w + (a * K + b) * channels);
      UNROLL for (int t = 0; t < T; t++) sum[t] += weight * line[t * S + b];
    }
  }
  UNROLL for (int t = 0; t < T; t++) store(y + t * channels, sum[t]);
}

template <int K, int S, class Map>
inline void depthwise(const float *x, int64_t row, const float *w, int64_t rows, int64_t columns,
                      int64_t channels, Map *y) {
  constexpr int T = kTile / S;
  for (int64_t i = 0; i < rows; i++, x += S * row, y += columns * channels)
    for (int64_t j = 0; j < columns;) {
      if (columns >= T) {
        j = std::min(j, columns - T);
        depthwise_tile<K, S, T>(x + j * S * kLanes, row, w, channels, y + j * channels), j += T;
      } else {
        depthwise_tile<K, S, 1>(x + j * S * kLanes, row, w, channels, y + j * channels), j++;
      }
    }
}

// dw (A, K, channels) += x times dy, for A rows of the kernel.
template <int K, int S, int A>
inline void depthwise_weights(const float *x, int64_t row, const float *dy, int64_t dy_row,
                              int64_t rows, int64_t columns, int64_t channels, float *dw) {
  Vector sum[A * K];
  UNROLL for (int t = 0; t < A * K; t++) sum[t] = load(dw + t * channels);
  for (int64_t i = 0; i < rows; i++, x += S * row, dy += S * dy_row)
    for (int64_t j = 0; j < columns; j++) {
      const Vector gradient = load(dy + j * S * kLanes);
      UNROLL for (int a = 0; a < A; a++)
        UNROLL for (int b = 0; b < K; b++)
          sum[a * K + b] += gradient * load(x + a * row + (j * S + b) * kLanes);
    }
  UNROLL for (int t = 0; t < A * K; t++) store(dw + t * channels, sum[t]);
}

template <int K, int S>
inline void add_depthwise_weights(const float *x, int64_t row, const float *dy, int64_t dy_row,
                                  int64_t rows, int64_t columns, int64_t channels, float *dw) {
  constexpr int fit = (kRegisters + 1) / K, A = fit < 1 ? 1 : fit > K ? K : fit;
  int a = 0;
  for (; a + A <= K; a += A)
    depthwise_weights<K, S, A>(x + a * row, row, dy, dy_row, rows, columns, channels,
                               dw + a * K * channels);
  if constexpr (K % A)
    depthwise_weights<K, S, K % A>(x + a * row, row, dy, dy_row, rows, columns, channels,
                                   dw + a * K * channels);
}

}  // namespace
