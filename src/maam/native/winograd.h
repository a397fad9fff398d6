// Winograd's convolution F(2x2, 3x3) of one image with channels last, and the gradient of its weights:
// four results of a 3x3 kernel take 16 products, not 36 (Lavin and Gray, 2016,
// https://arxiv.org/abs/1509.09308, section 4.1). Of a tile of 4x4 pixels d and a kernel g,
//
//     y = A' [(G g G') * (B' d B)] A        dg = G' [(A dy A') * (B' d B)] G
//
// The products of all channels at one of the 16 places are a product of matrices.

#pragma once

#include <algorithm>
#include <cstdint>

#include "products.h"

namespace {

constexpr int kPlaces = 16;

// Room that a thread keeps.
inline float *room(int which, int64_t size) {
  thread_local Buffer rooms[2];
  thread_local int64_t sizes[2] = {};
  if (size > sizes[which]) rooms[which] = Buffer(size), sizes[which] = size;
  return rooms[which].get();
}

struct Winograd {
  int64_t in, out, height, width;
  Buffer weights;  // (places, blocks of `out`, in, vectors)

  // Whether it can, and is faster than sums of nine products.
  static bool takes(int64_t in, int64_t out, int64_t height, int64_t width) {
    return std::min(in, out) >= kFew && in % kLanes == 0 && out % kLanes == 0 && height % 2 == 0 &&
           width % 2 == 0;
  }

  // For the gradient of the weights alone.
  Winograd(int64_t in, int64_t out, int64_t height, int64_t width)
      : in(in), out(out), height(height), width(width) {}

  // weight(o, c, tap) is the weight from channel c to channel o, tap = 3 * a + b.
  template <class Weight>
  Winograd(int64_t in, int64_t out, int64_t height, int64_t width, const Weight &weight)
      : Winograd(in, out, height, width) {
    weights = Buffer(gradients());
    const int64_t wide = vectors_of(out) * kLanes;
    for (int64_t o = 0; o < out; o++)
      for (int64_t c = 0; c < in; c++) {
        float half[4][3], whole[4][4];
        for (int b = 0; b < 3; b++) {
          const float top = weight(o, c, b), middle = weight(o, c, 3 + b), end = weight(o, c, 6 + b);
          half[0][b] = top, half[1][b] = (top + middle + end) / 2;
          half[2][b] = (top - middle + end) / 2, half[3][b] = end;
        }
        for (int a = 0; a < 4; a++) {
          const float *h = half[a];
          whole[a][0] = h[0], whole[a][1] = (h[0] + h[1] + h[2]) / 2;
          whole[a][2] = (h[0] - h[1] + h[2]) / 2, whole[a][3] = h[2];
        }
        for (int p = 0; p < kPlaces; p++)
          weights.get()[p * in * out + (o / wide * in + c) * wide + o % wide] = whole[p / 4][p % 4];
      }
  }

  int64_t gradients() const { return kPlaces * in * out; }  // numbers

  // x (height + 2, width + 2, in) has zeros around it; y (height, width, out).
  void forward(const float *x, float *y) {
    for_tiles([&](int64_t first, int64_t count) {
      const float *input = gathered(x, first, count);
      float *products = room(1, kPlaces * apart(kTiles, out));
      for (int p = 0; p < kPlaces; p++) {
        Walk<float> walk = places(count);
        walk.kernel.push_back({0, in, weights.get() + p * in * out});
        convolve(walk, input + p * apart(count, in), in, out, products + p * apart(count, out));
      }
      for (int64_t t = 0; t < count; t++) {
        float *to = y + corner(first + t, width * out, out);
        for (int64_t o = 0; o < out; o += kLanes) {
          const float *from = products + t * out + o;
          Vector sum[2][4];
          UNROLL for (int b = 0; b < 4; b++) {
            Vector m[4];
            UNROLL for (int a = 0; a < 4; a++) m[a] = load(from + (4 * a + b) * apart(count, out));
            sum[0][b] = m[0] + m[1] + m[2], sum[1][b] = m[1] - m[2] - m[3];
          }
          UNROLL for (int a = 0; a < 2; a++) {
            const Vector *s = sum[a];
            store(to + a * width * out + o, s[0] + s[1] + s[2]);
            store(to + (a * width + 1) * out + o, s[1] - s[2] - s[3]);
          }
        }
      }
    });
  }

  // dw (places, in, out) += of one image; rows of dy lie `row` numbers apart.
  void add_gradient(const float *x, const float *dy, int64_t row, float *dw) const {
    for_tiles([&](int64_t first, int64_t count) {
      const float *input = gathered(x, first, count);
      float *gradient = room(1, kPlaces * apart(kTiles, out));
      for (int64_t t = 0; t < count; t++) {
        const float *from = dy + corner(first + t, row, out);
        for (int64_t o = 0; o < out; o += kLanes) {
          Vector half[4][2];
          UNROLL for (int b = 0; b < 2; b++) {
            const Vector top = load(from + b * out + o), end = load(from + row + b * out + o);
            half[0][b] = top, half[1][b] = top + end, half[2][b] = top - end, half[3][b] = -end;
          }
          UNROLL for (int a = 0; a < 4; a++) {
            const Vector left = half[a][0], right = half[a][1];
            const Vector whole[4] = {left, left + right, left - right, -right};
            UNROLL for (int b = 0; b < 4; b++)
              store(gradient + (4 * a + b) * apart(count, out) + t * out + o, whole[b]);
          }
        }
      }
      for (int p = 0; p < kPlaces; p++)
        add_weights(places(count), input + p * apart(count, in), gradient + p * apart(count, out),
                    in, out, dw + p * in * out);
    });
  }

  // From what add_gradient gives to (out, in, 3, 3).
  void order(const float *dw, float *to) const {
    for (int64_t o = 0; o < out; o++)
      for (int64_t c = 0; c < in; c++, to += 9) {
        float half[3][4];
        for (int b = 0; b < 4; b++) {
          float u[4];
          for (int a = 0; a < 4; a++) u[a] = dw[((4 * a + b) * in + c) * out + o];
          half[0][b] = u[0] + (u[1] + u[2]) / 2, half[1][b] = (u[1] - u[2]) / 2;
          half[2][b] = (u[1] + u[2]) / 2 + u[3];
        }
        for (int a = 0; a < 3; a++) {
          const float *h = half[a];
          to[3 * a] = h[0] + (h[1] + h[2]) / 2, to[3 * a + 1] = (h[1] - h[2]) / 2;
          to[3 * a + 2] = (h[1] + h[2]) / 2 + h[3];
        }
      }
  }

 private:
  static constexpr int64_t kFew = 16;    // channels: with fewer, most of the time goes to sums
  static constexpr int64_t kTiles = 32;  // at a time: what stays in the second-level cache

  template <class Visit>
  void for_tiles(const Visit &visit) const {
    const int64_t tiles = height / 2 * (width / 2);
    for (int64_t t = 0; t < tiles; t += kTiles) visit(t, std::min(kTiles, tiles - t));
  }
  // Where the first pixel of a tile lies in a map whose rows lie `row` numbers apart.
  int64_t corner(int64_t tile, int64_t row, int64_t channels) const {
    const int64_t tiles = width / 2;
    return tile / tiles * 2 * row + tile % tiles * 2 * channels;
  }
  // How far places lie apart: not by a power of two, or they would share few lines of the cache.
  static int64_t apart(int64_t count, int64_t channels) { return count * channels + 16; }
  Walk<float> places(int64_t count) const { return {1, count, 0, out, 0, in, {}}; }

  // B' d B of `count` tiles: (places, count, in).
  float *gathered(const float *x, int64_t first, int64_t count) const {
    float *to = room(0, kPlaces * apart(kTiles, in));
    const int64_t row = (width + 2) * in;
    for (int64_t t = 0; t < count; t++) {
      const float *from = x + corner(first + t, row, in);
      for (int64_t c = 0; c < in; c += kLanes) {
        Vector half[4][4];
        UNROLL for (int b = 0; b < 4; b++) {
          Vector d[4];
          UNROLL for (int a = 0; a < 4; a++) d[a] = load(from + a * row + b * in + c);
          half[0][b] = d[0] - d[2], half[1][b] = d[1] + d[2];
          half[2][b] = d[2] - d[1], half[3][b] = d[1] - d[3];
        }
        UNROLL for (int a = 0; a < 4; a++) {
          const Vector *h = half[a];
          const Vector whole[4] = {h[0] - h[2], h[1] + h[2], h[2] - h[1], h[1] - h[3]};
          UNROLL for (int b = 0; b < 4; b++)
            store(to + (4 * a + b) * apart(count, in) + t * in + c, whole[b]);
        }
      }
    }
    return to;
  }
};

}  // namespace
