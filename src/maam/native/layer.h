// A convolution of one image with channels last, dense or depthwise, and its gradients: odd square
// kernels, zero padding of half a kernel, a step of 1 or 2 between their places, no bias.

#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "products.h"
#include "winograd.h"

namespace {

struct Layer {
  int64_t in, out, side, step, height, width;  // height and width of the input
  bool single;                                 // depthwise: a kernel a channel
  bool paired;                                 // reads bfloat16: a product of two matrices
  Buffer packed, turned;                       // weights: as they are, and for the gradient
  std::optional<Winograd> quick, quick_turned;  // in their place

  // w is (out, in, side, side), or (out, 1, side, side) of a depthwise one.
  Layer(const float *w, int64_t in, int64_t out, int64_t side, int64_t step, int64_t height,
        int64_t width, bool single, bool backward, bool half = false)
      : in(in), out(out), side(side), step(step), height(height), width(width), single(single),
        paired(kPairs && half && !single && flat() && in % kLanes == 0) {
    if (!half && !single && side == 3 && step == 1 && Winograd::takes(in, out, height, width)) {
      quick.emplace(in, out, height, width, [=](int64_t o, int64_t c, int64_t t) {
        return w[(o * in + c) * 9 + t];
      });
      if (backward)
        quick_turned.emplace(out, in, height, width, [=](int64_t c, int64_t o, int64_t t) {
          return w[(o * in + c) * 9 + 8 - t];
        });
      return;
    }
    packed = Buffer(weights());
    if (backward) turned = Buffer(taps() * (single ? 1 : in_wide()) * out);
    for (int64_t o = 0; o < out; o++)
      for (int64_t c = 0; c < (single ? 1 : in); c++)
        for (int64_t t = 0; t < taps(); t++) {
          const int64_t a = t / side, b = t % side, left = side - 1 - b;
          const float value = *w++;
          if (paired) {
            const auto pairs = [](Buffer &to) { return reinterpret_cast<uint16_t *>(to.get()); };
            pairs(packed)[2 * place(0, 0, o, c / 2, in / 2, out) + c % 2] = half_of(value);
            if (backward)
              pairs(turned)[2 * place(0, 0, c, o / 2, out / 2, in) + o % 2] = half_of(value);
            continue;
          }
          packed.get()[single ? t * in + o : place(a, b, o, c, in, out)] = value;
          if (backward)
            turned.get()[single ? (taps() - 1 - t) * in + o
                                : place(a, left, c, o, out, in_wide())] = value;
        }
  }

  int64_t in_wide() const { return (in + kLanes - 1) / kLanes * kLanes; }  // whole vectors
  int64_t pad() const { return side / 2; }
  int64_t taps() const { return side * side; }
  int64_t weights() const { return taps() * (single ? 1 : in) * out; }
  int64_t gradients() const { return quick ? quick->gradients() : weights(); }
  int64_t out_height() const { return (height + step - 1) / step; }
  int64_t out_width() const { return (width + step - 1) / step; }
  int64_t pixels() const { return height * width; }
  int64_t out_pixels() const { return out_height() * out_width(); }
  // What a layer reads has zeros around it. A depthwise one has it in pieces, a vector of channels
  // each; and in its gradient zeros lie between the pixels, where the input has some left out.
  int64_t spread() const { return single ? step : 1; }
  int64_t x_piece() const { return single ? kLanes : in; }
  int64_t x_row() const { return (width + 2 * pad()) * x_piece(); }
  int64_t x_map() const { return (height + 2 * pad()) * x_row(); }
  int64_t x_size() const { return x_map() * in / x_piece(); }
  int64_t dy_piece() const { return single ? kLanes : out; }
  int64_t dy_row() const { return ((single ? width : out_width()) + 2 * pad()) * dy_piece(); }
  int64_t dy_map() const { return ((single ? height : out_height()) + 2 * pad()) * dy_row(); }
  int64_t dy_size() const { return dy_map() * out / dy_piece(); }

  // Pixel by pixel, value(offset, channel) is a vector of the input.
  template <class Value>
  void fill_x(float *x, const Value &value) const {
    if (paired) return fill(halves(x), height, width, width * in, in, kLanes, in, value);
    fill(x + pad() * (x_row() + x_piece()), height, width, x_row(), x_piece(),
         single ? x_map() : kLanes, in, value);
  }
  void copy_x(float *x, const float *from) const {
    if (single || paired) return fill_x(x, [&](int64_t k, int64_t) { return load(from + k); });
    for (int64_t i = 0; i < height; i++, from += width * in)
      std::copy_n(from, width * in, x + (i + pad()) * x_row() + pad() * in);
  }
  template <class Value>
  void fill_dy(float *dy, const Value &value) const {
    if (paired) return fill(halves(dy), height, width, width * out, out, kLanes, out, value);
    fill(dy + pad() * (dy_row() + dy_piece()), out_height(), out_width(), spread() * dy_row(),
         spread() * dy_piece(), single ? dy_map() : kLanes, out, value);
  }

  template <class Map>
  void forward(const float *x, Map *y) {
    if constexpr (std::is_same_v<Map, float>)
      if (quick) return quick->forward(x, y);
    if constexpr (kPairs)
      if (paired) return product(x, packed, in, out, y);
    if (single) {
      with_kernel([&](auto k, auto s) {
        for (int64_t c = 0; c < in; c += kLanes)
          depthwise<k, s>(x + c / kLanes * x_map(), x_row(), packed.get() + c, out_height(),
                          out_width(), in, y + c);
      });
      return;
    }
    Walk<float> walk{out_height(), out_width(), out_width() * out, out, step * x_row(), step * in, {}};
    if (flat()) walk.columns *= walk.rows, walk.rows = 1;
    for (int64_t a = 0; a < side; a++)
      walk.kernel.push_back({a * x_row(), side * in, packed.get() + a * side * in * out});
    convolve(walk, x, side * in, out, y);
  }

  template <class Map>
  void backward(const float *dy, Map *dx) {  // dx has in_wide channels
    const int64_t in = in_wide();
    if constexpr (std::is_same_v<Map, float>)
      if (quick_turned) return quick_turned->forward(dy, dx);
    if constexpr (kPairs)
      if (paired) return product(dy, turned, out, in, dx);
    if (single) {
      with_kernel([&](auto k, auto) {
        for (int64_t c = 0; c < in; c += kLanes)
          depthwise<k, 1>(dy + c / kLanes * dy_map(), dy_row(), turned.get() + c, height, width, in,
                          dx + c);
      });
      return;
    }
    for (int64_t i = 0; i < step; i++)  // pixels that see the same taps
      for (int64_t j = 0; j < step; j++) {
        Walk<float> walk{(height - i + step - 1) / step, (width - j + step - 1) / step,
                  step * width * in, step * in, dy_row(), out, {}};
        if (flat()) walk.columns *= walk.rows, walk.rows = 1;
        for (int64_t a = (i + pad()) % step; a < side; a += step) {
          const float *weights = turned.get() + a * side * in * out;
          const auto row = ((i + pad() - a) / step + pad()) * dy_row();
          if (step == 1)  // places next to each other
            walk.kernel.push_back({row + (j + pad() - side + 1 + pad()) * out, side * out, weights});
          else
            for (int64_t b = (j + pad()) % step; b < side; b += step)
              walk.kernel.push_back({row + ((j + pad() - b) / step + pad()) * out, out,
                                     weights + (side - 1 - b) * out * vectors_of(in) * kLanes});
        }
        convolve(walk, dy, side * out, in, dx + (i * width + j) * in);
      }
  }

  // dw (side, side, in, out), or (side, side, out), or as Winograd has it, += of one image.
  void add_gradient(const float *x, const float *dy, float *dw) const {
    if constexpr (kPairs)
      if (paired) return add_paired(halves(x), halves(dy), dw);
    dy += pad() * dy_row() + pad() * dy_piece();
    if (quick) return quick->add_gradient(x, dy, dy_row(), dw);
    if (single) {
      with_kernel([&](auto k, auto s) {
        for (int64_t c = 0; c < in; c += kLanes)
          add_depthwise_weights<k, s>(x + c / kLanes * x_map(), x_row(), dy + c / kLanes * dy_map(),
                                      dy_row(), out_height(), out_width(), in, dw + c);
      });
      return;
    }
    const int64_t rows = flat() ? 1 : out_height();
    const int64_t columns = flat() ? pixels() : out_width();
    const int64_t some_rows = std::max<int64_t>(kChunk / columns, 1);
    const int64_t some_columns = flat() ? std::min(kChunk, columns) : columns;
    for (int64_t i = 0; i < rows; i += some_rows)  // what stays in the first-level cache
      for (int64_t j = 0; j < columns; j += some_columns) {
        const Walk<float> walk{std::min(some_rows, rows - i), std::min(some_columns, columns - j),
                        dy_row(), out, step * x_row(), step * in, {}};
        for (int64_t a = 0; a < side; a++)
          add_weights(walk, x + (a + i * step) * x_row() + j * step * in,
                      dy + i * dy_row() + j * out, side * in, out, dw + a * side * in * out);
      }
  }

  // From the order of add_gradient to that of the weights.
  void order(const float *dw, float *to) const {
    if (quick) return quick->order(dw, to);
    for (int64_t o = 0; o < out; o++)
      for (int64_t c = 0; c < (single ? 1 : in); c++)
        for (int64_t t = 0; t < taps(); t++)
          *to++ = dw[single ? t * out + o : (t * in + c) * out + o];
  }

 private:
  // `row`, `column` and `next` are how far rows, pixels and vectors of a pixel lie apart.
  template <class Map, class Value>
  static void fill(Map *to, int64_t height, int64_t width, int64_t row, int64_t column,
                   int64_t next, int64_t channels, const Value value) {
    for (int64_t i = 0, k = 0; i < height; i++, to += row)
      for (int64_t j = 0; j < width; j++, k += channels) {
        Map *p = to + j * column;
        for (int64_t c = 0; c < channels; c += kLanes, p += next) store(p, value(k + c, c));
      }
  }

  static uint16_t *halves(float *p) { return reinterpret_cast<uint16_t *>(p); }
  static const uint16_t *halves(const float *p) { return reinterpret_cast<const uint16_t *>(p); }

  // y (pixels, to) = x (pixels, from) times weights, both of bfloat16.
  template <class Map>
  void product(const float *x, Buffer &weights, int64_t from, int64_t to, Map *y) const {
    const auto pairs = [](const float *p) { return reinterpret_cast<const Pair *>(p); };
    const Walk<Pair> walk{1, pixels(), 0, to, 0, from / 2, {{0, from / 2, pairs(weights.get())}}};
    convolve(walk, pairs(x), from / 2, to, y);
  }

  // add_gradient of bfloat16: two pixels are a pair.
  template <class Half>  // a template, since not every processor has what it needs
  void add_paired(const Half *x, const Half *dy, float *dw) const {
    std::vector<Pair> some_x(kChunk / 2 * in), some_dy(kChunk / 2 * out);
    for (int64_t i = 0; i < pixels(); i += kChunk) {
      const int64_t count = std::min(kChunk, pixels() - i);
      pair_up(x + i * in, count, in, some_x.data());
      pair_up(dy + i * out, count, out, some_dy.data());
      const Walk<Pair> walk{1, (count + 1) / 2, 0, out, 0, in, {}};
      add_weights(walk, some_x.data(), some_dy.data(), in, out, dw);
    }
  }
  template <class Half>
  static void pair_up(const Half *from, int64_t pixels, int64_t channels, Pair *to) {
    for (int64_t i = 0; i < pixels; i += 2, from += 2 * channels)
      for (int64_t c = 0; c < channels; c += kLanes, to += kLanes)
        store(to, pairs_of(from + c, i + 1 < pixels ? from + channels + c : nullptr));
  }

  static constexpr int64_t kChunk = 64;  // pixels

  bool flat() const { return side == 1 && step == 1; }  // rows do not matter
  // Where the weight from channel c to channel o lies, see convolve.
  int64_t place(int64_t a, int64_t b, int64_t o, int64_t c, int64_t in, int64_t out) const {
    const int64_t wide = vectors_of(out) * kLanes, run = side * in;
    return a * run * out + (o / wide * run + b * in + c) * wide + o % wide;
  }
  template <class Visit>
  void with_kernel(const Visit &visit) const {
    const auto with_step = [&](auto k) {
      if (step == 1)
        visit(k, std::integral_constant<int, 1>());
      else
        visit(k, std::integral_constant<int, 2>());
    };
    switch (side) {
      case 3: return with_step(std::integral_constant<int, 3>());
      case 5: return with_step(std::integral_constant<int, 5>());
      default: return with_step(std::integral_constant<int, 7>());
    }
  }
};

}  // namespace
