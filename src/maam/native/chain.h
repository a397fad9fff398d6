// Convolutions that follow each other, each with BatchNorm and ReLU behind it, as one
// operator; the last ReLU may be missing, and something may be added in front of it. That is a MAAM
// block (depthwise, 1x1), a residual block (3x3, 3x3), or one layer.
//
//     a[0] = conv(x), a[i] = conv(relu(norm(a[i - 1]))), y = relu(norm(a[last]) + r)
//
// Maps are (N, H, W, C): a vector is a piece of the channels of one pixel, and rows of any width do.
// Apart, these operators read and write whole maps many times over. Here each convolution is one
// pass: it applies the norm before it while it reads an image, and sums up the statistics of what it
// writes while that is still in the cache. Backward alike; norms are recomputed rather than kept.
//
// Images are shared out to a number of parts that does not depend on the machine, each part adds up
// in order, and so does what they found: the result is the same to the last bit for any number of
// threads.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "layer.h"
#include "native.h"
#include "statistics.h"

namespace {

constexpr int64_t kParts = 16;            // of a batch
constexpr int64_t kThreadWork = 1 << 20;  // products for which one more thread is worth its start

template <class Map>
struct Chain {
  int64_t batch;
  bool add_x, relu;
  std::vector<Layer> layers;
  std::vector<const Map *> maps;  // of each layer
  std::vector<const float *> means, variances, gammas, betas;

  std::vector<std::vector<float>> scales;  // gamma by deviation, once the variance is known

  size_t last() const { return layers.size() - 1; }
  Norm norm(size_t l) const { return {means[l], scales[l].data(), betas[l]}; }
  void set_scale(size_t l) {
    scales[l].resize(layers[l].out);
    for (int64_t c = 0; c < layers[l].out; c++)
      scales[l][c] = gammas[l][c] / std::sqrt(variances[l][c] + kEpsilon);
  }

  static int64_t products(const Layer &layer) { return layer.out_pixels() * layer.weights(); }

  // Calls task(part, first, end) for the images of all parts; an image takes so many products.
  template <class Task>
  void for_parts(int64_t products, const Task &task) const {
    const int64_t parts = std::min(batch, kParts), work = batch * products;
    parallel(parts, work / kThreadWork, [&](int64_t part) {
      task(part, part * batch / parts, (part + 1) * batch / parts);
    });
  }

  // The padded input of layer l, for image n.
  void input(size_t l, const float *x, int64_t n, float *to) const {
    const int64_t at = n * layers[l].pixels() * layers[l].in;
    l ? input(l, maps[l - 1] + at, to) : layers[l].copy_x(to, x + at);
  }
  // The same from the maps of the layer before.
  void input(size_t l, const Map *from, float *to) const {
    const Layer &layer = layers[l];
    const Norm before = norm(l - 1);
    layer.fill_x(to, [=](int64_t k, int64_t c) { return ::relu(before(load(from + k), c)); });
  }

  void forward(const float *x, const float *r, float *y, Map *const *a, float *const *mean,
               float *const *variance) {
    for (size_t l = 0; l < layers.size(); l++) {
      Layer &layer = layers[l];
      const int64_t size = layer.out_pixels() * layer.out;
      std::vector<Moments> found(kParts, Moments(layer.out));
      for_parts(products(layer), [&](int64_t part, int64_t first, int64_t end) {
        Buffer padded(layer.x_size());
        for (int64_t n = first; n < end; n++) {
          input(l, x, n, padded.get());
          layer.forward(padded.get(), a[l] + n * size);
          found[part].add(a[l] + n * size, layer.out_pixels(), layer.out);
        }
      });
      for (int64_t part = 1; part < kParts; part++) found[0].add(found[part]);
      for (int64_t c = 0; c < layer.out; c++) {
        mean[l][c] = found[0].mean[c];
        variance[l][c] = found[0].squares[c] / found[0].count;
      }
      set_scale(l);
    }
    const float *more = add_x ? x : r;
    for_parts(products(layers[last()]), [&](int64_t, int64_t first, int64_t end) {
      const int64_t size = layers[last()].out_pixels() * layers[last()].out, at = first * size;
      finish(a[last()] + at, more ? more + at : nullptr, (end - first) * size, y + at);
    });
  }

  // The same in inference: `means` and `variances` are the running ones, so each image goes through
  // all layers while it is in the cache.
  void infer(const float *x, const float *r, float *y) {
    int64_t all = 0;
    for (size_t l = 0; l < layers.size(); l++) set_scale(l), all += products(layers[l]);
    const int64_t size = layers[last()].out_pixels() * layers[last()].out;
    for_parts(all, [&](int64_t, int64_t first, int64_t end) {
      std::vector<Buffer> padded, room;
      std::vector<Map *> a;
      for (const Layer &layer : layers) {
        padded.emplace_back(layer.x_size());
        room.emplace_back(layer.out_pixels() * layer.out);
        a.push_back(reinterpret_cast<Map *>(room.back().get()));
      }
      for (int64_t n = first; n < end; n++) {
        for (size_t l = 0; l < layers.size(); l++) {
          l ? input(l, a[l - 1], padded[l].get()) : input(l, x, n, padded[l].get());
          layers[l].forward(padded[l].get(), a[l]);
        }
        const float *more = add_x ? x : r;
        finish(a[last()], more ? more + n * size : nullptr, size, y + n * size);
      }
    });
  }

  // y from the last layer's maps and what is added to them, or null: `size` values.
  void finish(const Map *from, const float *more, int64_t size, float *y) const {
    const Norm after = norm(last());
    const int64_t channels = layers[last()].out;
    const auto write = [&](auto change) {
      for (int64_t k = 0; k < size; k += channels)
        for (int64_t c = 0; c < channels; c += kLanes)
          store(y + k + c, change(k + c, after(load(from + k + c), c)));
    };
    const auto sum = [=](int64_t k, Vector z) { return z + load(more + k); };
    const auto both = [=](int64_t k, Vector z) { return ::relu(z + load(more + k)); };
    if (more)
      relu ? write(both) : write(sum);
    else
      relu ? write([](int64_t, Vector z) { return ::relu(z); })
           : write([](int64_t, Vector z) { return z; });
  }

  // Room has the gradients behind the norms of all layers but the last.
  void backward(const float *x, const float *y, const float *dy, float *dx, float *dr,
                float *const *dw, float *const *dgamma, float *const *dbeta, Map *const *room) {
    const float *bound = relu ? y : nullptr;  // where it is positive, dy passes
    for (size_t l = 0; l < layers.size(); l++) set_scale(l);
    std::vector<std::vector<double>> sums(kParts, std::vector<double>(2 * layers[last()].out));
    for_parts(products(layers[last()]), [&](int64_t part, int64_t first, int64_t end) {
      const int64_t pixels = layers[last()].out_pixels(), channels = layers[last()].out;
      const float *mean = means[last()];
      for (int64_t n = first; n < end; n++) {
        const int64_t start = n * pixels * channels;
        const Map *from = maps[last()] + start;
        const float *gradient = dy + start;
        const auto visit = [=](int64_t k, int64_t c, Vector g, Vector &plain, Vector &product) {
          plain += g;
          product += g * (load(from + k) - load(mean + c));
        };
        if (!bound) {
          reduce(pixels, channels, sums[part].data(),
                 [=](int64_t k, int64_t c, Vector &plain, Vector &product) {
                   visit(k, c, load(gradient + k), plain, product);
                 });
        } else {
          const float *positive = bound + start;
          reduce(pixels, channels, sums[part].data(),
                 [=](int64_t k, int64_t c, Vector &plain, Vector &product) {
                   const Vector g = where_positive(load(positive + k), load(gradient + k));
                   visit(k, c, g, plain, product);
                 });
        }
        if (dr) copy_positive(gradient, bound ? bound + start : nullptr, pixels * channels, dr + start);
      }
    });
    for (size_t l = last() + 1; l-- > 0;) {
      Layer &layer = layers[l];
      const double count = batch * layer.out_pixels();
      std::vector<float> shift(layer.out), slope(layer.out);
      for (int64_t c = 0; c < layer.out; c++) {
        double plain = 0, product = 0;
        for (const auto &part : sums) plain += part[c], product += part[layer.out + c];
        const double variance = variances[l][c] + kEpsilon;
        dbeta[l][c] = plain;
        dgamma[l][c] = product / std::sqrt(variance);
        shift[c] = plain / count, slope[c] = product / count / variance;
      }
      std::vector<Buffer> gradients(kParts);
      sums.assign(kParts, std::vector<double>(2 * layer.in));
      for_parts(products(layer), [&](int64_t part, int64_t first, int64_t end) {
        Buffer padded(layer.x_size()), spread(layer.dy_size());
        gradients[part] = Buffer(layer.gradients());
        for (int64_t n = first; n < end; n++) {
          const int64_t start = n * layer.out_pixels() * layer.out;
          const int64_t below = n * layer.pixels() * layer.in;
          const bool top = l == last();
          const auto before = [&](const auto *g, const float *bound) {
            before_norm(l, g, bound, maps[l] + start, shift.data(), slope.data(), spread.get());
          };
          top ? before(dy + start, bound ? bound + start : nullptr)
              : before(room[l] + start, nullptr);
          input(l, x, n, padded.get());
          layer.add_gradient(padded.get(), spread.get(), gradients[part].get());
          if (l) {
            layer.backward(spread.get(), room[l - 1] + below);
            behind_norm(l - 1, maps[l - 1] + below, room[l - 1] + below, sums[part].data());
          } else if (dx && layer.in % kLanes) {
            Buffer wide(layer.pixels() * layer.in_wide());
            layer.backward(spread.get(), wide.get());
            for (int64_t k = 0; k < layer.pixels(); k++)
              std::copy_n(wide.get() + k * layer.in_wide(), layer.in, dx + below + k * layer.in);
          } else if (dx) {
            layer.backward(spread.get(), dx + below);
            if (add_x)
              add_positive(dy + below, bound ? bound + below : nullptr, layer.pixels() * layer.in,
                           dx + below);
          }
        }
      });
      float *total = gradients[0].get();
      for (int64_t part = 1; part < std::min(batch, kParts); part++)
        for (int64_t k = 0; k < layer.gradients(); k++) total[k] += gradients[part].get()[k];
      layer.order(total, dw[l]);
    }
  }

  // The padded gradient in front of a norm of one image, from g behind it.
  template <class Gradient>
  void before_norm(size_t l, const Gradient *g, const float *bound, const Map *a,
                   const float *shift, const float *slope, float *to) const {
    const Norm norm = this->norm(l);
    const auto value = [=](Vector g, int64_t k, int64_t c) {
      const Vector deviation = load(a + k) - load(norm.mean + c);
      return load(norm.scale + c) * (g - load(shift + c) - deviation * load(slope + c));
    };
    if (bound)
      layers[l].fill_dy(to, [=](int64_t k, int64_t c) {
        return value(where_positive(load(bound + k), load(g + k)), k, c);
      });
    else
      layers[l].fill_dy(to, [=](int64_t k, int64_t c) { return value(load(g + k), k, c); });
  }

  // Takes the gradient of one image to before the ReLU behind a norm, and adds up its sums.
  void behind_norm(size_t l, const Map *a, Map *g, double *sums) const {
    const Norm norm = this->norm(l);
    reduce(layers[l].out_pixels(), layers[l].out, sums,
           [=](int64_t k, int64_t c, Vector &plain, Vector &product) {
             const Vector value = load(a + k);
             const Vector kept = where_positive(norm(value, c), load(g + k));
             store(g + k, kept);
             plain += kept;
             product += kept * (value - load(norm.mean + c));
           });
  }

  static void copy_positive(const float *g, const float *bound, int64_t size, float *to) {
    for (int64_t k = 0; k < size; k += kLanes)
      store(to + k, bound ? where_positive(load(bound + k), load(g + k)) : load(g + k));
  }
  static void add_positive(const float *g, const float *bound, int64_t size, float *to) {
    for (int64_t k = 0; k < size; k += kLanes) {
      const Vector more = bound ? where_positive(load(bound + k), load(g + k)) : load(g + k);
      store(to + k, load(to + k) + more);
    }
  }
};

}  // namespace
