// A convolution with bias, 2x2 max pooling and ReLU in training, as one operator.
//
//     y = relu(pool(conv(x) + bias))
//
// Maps are (N, H, W, C), see chain.h. The convolution's result stays in the cache; of it only y is
// kept, and which of the four pixels it came from. The first of equal ones gets the gradient, as with
// MaxPool. Odd sizes are cut off by the pooling.
//
// Images are shared out to parts as in chain.h: the result does not depend on the number of threads.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../layer.h"
#include "../native.h"

namespace {

constexpr int64_t kParts = 16;            // of a batch
constexpr int64_t kThreadWork = 1 << 20;  // products for which one more thread is worth its start
constexpr float kNone = 4;                // where ReLU lets no gradient pass

// Rows to columns.
inline void turn(const float *from, int64_t rows, int64_t columns, float *to) {
  for (int64_t j = 0; j < columns; j++)
    for (int64_t i = 0; i < rows; i++) to[j * rows + i] = from[i * columns + j];
}

struct Pooled {
  int64_t batch;
  bool flat;  // y is (N, C * H * W), channel by channel, for a dense layer
  Layer layer;

  int64_t rows() const { return layer.height / 2; }
  int64_t columns() const { return layer.width / 2; }
  int64_t x_size() const { return layer.pixels() * layer.in; }
  int64_t y_size() const { return rows() * columns() * layer.out; }

  template <class Task>  // task(part, first, end)
  void for_parts(const Task &task) const {
    const int64_t parts = std::min(batch, kParts);
    const int64_t work = batch * layer.pixels() * layer.weights();
    parallel(parts, work / kThreadWork, [&](int64_t part) {
      task(part, part * batch / parts, (part + 1) * batch / parts);
    });
  }

  void forward(const float *x, const float *bias, float *y, float *which) {
    for_parts([&](int64_t, int64_t first, int64_t end) {
      Buffer padded(layer.x_size()), maps(layer.pixels() * layer.out), last(flat ? y_size() : 0);
      for (int64_t n = first; n < end; n++) {
        layer.copy_x(padded.get(), x + n * x_size());
        layer.forward(padded.get(), maps.get());
        float *to = y + n * y_size();
        pool(maps.get(), bias, flat ? last.get() : to, which + n * y_size());
        if (flat) turn(last.get(), rows() * columns(), layer.out, to);
      }
    });
  }

  void pool(const float *maps, const float *bias, float *y, float *which) const {
    const int64_t channels = layer.out, row = layer.width * channels, width = columns();
    for (int64_t i = 0, height = rows(); i < height; i++)
      for (int64_t j = 0; j < width; j++, y += channels, which += channels)
        for (int64_t c = 0; c < channels; c += kLanes) {
          const float *p = maps + 2 * i * row + 2 * j * channels + c;
          const Vector more = load(bias + c);
          Vector best = load(p) + more, place = {};
          for (int k = 1; k < 4; k++) {
            const Vector z = load(p + k / 2 * row + k % 2 * channels) + more;
            place = z > best ? Vector{} + float(k) : place;
            best = z > best ? z : best;
          }
          store(which + c, best <= 0 ? Vector{} + kNone : place);
          store(y + c, best < 0 ? Vector{} : best);
        }
  }

  void backward(const float *x, const float *which, const float *dy, float *dx, float *dw,
                float *db) {
    std::vector<Buffer> gradients(kParts);
    std::vector<std::vector<float>> sums(kParts, std::vector<float>(layer.out));
    for_parts([&](int64_t part, int64_t first, int64_t end) {
      Buffer padded(layer.x_size()), spread(layer.dy_size()), last(flat ? y_size() : 0);
      Buffer wide(dx && layer.in % kLanes ? layer.pixels() * layer.in_wide() : 0);
      gradients[part] = Buffer(layer.gradients());
      for (int64_t n = first; n < end; n++) {
        layer.copy_x(padded.get(), x + n * x_size());
        const float *g = dy + n * y_size();
        if (flat) turn(g, layer.out, rows() * columns(), last.get());
        unpool(which + n * y_size(), flat ? last.get() : g, spread.get(), sums[part].data());
        layer.add_gradient(padded.get(), spread.get(), gradients[part].get());
        if (!dx) continue;
        float *to = dx + n * x_size();
        if (layer.in % kLanes == 0) {
          layer.backward(spread.get(), to);
          continue;
        }
        layer.backward(spread.get(), wide.get());
        for (int64_t k = 0; k < layer.pixels(); k++)
          std::copy_n(wide.get() + k * layer.in_wide(), layer.in, to + k * layer.in);
      }
    });
    float *total = gradients[0].get();
    for (int64_t part = 1; part < std::min(batch, kParts); part++) {
      for (int64_t k = 0; k < layer.gradients(); k++) total[k] += gradients[part].get()[k];
      for (int64_t c = 0; c < layer.out; c++) sums[0][c] += sums[part][c];
    }
    layer.order(total, dw);
    std::copy_n(sums[0].data(), layer.out, db);
  }

  // The padded gradient of the convolution's result; what odd sizes cut off stays 0.
  void unpool(const float *which, const float *dy, float *to, float *sums) const {
    const int64_t channels = layer.out, row = layer.dy_row(), width = columns();
    to += layer.pad() * (row + channels);
    for (int64_t i = 0, height = rows(); i < height; i++)
      for (int64_t j = 0; j < width; j++, which += channels, dy += channels)
        for (int64_t c = 0; c < channels; c += kLanes) {
          float *p = to + 2 * i * row + 2 * j * channels + c;
          const Vector place = load(which + c), g = load(dy + c);
          for (int k = 0; k < 4; k++)
            store(p + k / 2 * row + k % 2 * channels, place == Vector{} + float(k) ? g : Vector{});
          store(sums + c, load(sums + c) + (place == Vector{} + kNone ? Vector{} : g));
        }
  }
};

// x (N, H, W, C), w (O, C, K, K), bias (O,), y (N, H / 2, W / 2, O) or, flat, (N, O * (H / 2) * (W /
// 2)). visit is called with a Pooled.
template <class Visit>
int with_sizes(const int *dimensions, int64_t **shapes, const float *weights, bool turned,
               const Visit &visit) {
  const int64_t *x = shapes[0], *w = shapes[1], *y = shapes[3];
  const int64_t height = x[1] / 2, width = x[2] / 2;
  const bool flat = dimensions[3] == 2;
  if (w[0] % kLanes || w[1] != x[3] || w[2] != w[3] || w[2] % 2 == 0) return kBadSizes;
  if (flat ? y[1] != w[0] * height * width : y[1] != height || y[2] != width) return kBadSizes;
  if (x[0] * height * width * x[3] < 1) return kBadSizes;
  return guarded([&] {
    Pooled pooled{x[0], flat, Layer(weights, w[1], w[0], w[2], 1, x[1], x[2], false, turned)};
    visit(pooled);
    return kDone;
  });
}

int gradient(int count, void **params, const int *dimensions, int64_t **shapes,
             const char **types, bool wants_dx) {
  if (count != 8) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  return with_sizes(dimensions, shapes, p[1], wants_dx, [&](Pooled &pooled) {
    pooled.backward(p[0], p[3], p[4], wants_dx ? p[5] : nullptr, p[6], p[7]);
  });
}

}  // namespace

// MindSpore's interface of an ahead-of-time operator, see native.h.

// x, w, bias -> y, which
extern "C" int Pooled2x2(int count, void **params, int *dimensions, int64_t **shapes, const char **types,
                         void *, void *) {
  if (count != 5) return kBadCount;
  if (!all_float32(count, types)) return kBadTypes;
  const auto p = reinterpret_cast<float **>(params);
  return with_sizes(dimensions, shapes, p[1], false,
                    [&](Pooled &pooled) { pooled.forward(p[0], p[2], p[3], p[4]); });
}

// x, w, bias (for its shape), which, dy -> dx, dw, db
extern "C" int PooledGrad(int count, void **params, int *dimensions, int64_t **shapes, const char **types,
                          void *, void *) {
  return gradient(count, params, dimensions, shapes, types, true);
}

// The same without dx, which costs as much as the convolution itself.
extern "C" int PooledGradButInput(int count, void **params, int *dimensions, int64_t **shapes,
                                  const char **types, void *, void *) {
  return gradient(count, params, dimensions, shapes, types, false);
}
