// Layers that follow each other as one operator of MindSpore: chain.h computes.

#include "../chain_operator.h"

// MindSpore's interface of an ahead-of-time operator, see native.h.

// x (N, H, W, C), r as y or (1, 1, 1, 1) for none, form (whether to add x, whether the last ReLU is
// there, and the step of each layer), and of each layer w (O, I, K, K) or (O, 1, K, K), gamma, beta,
// running mean and variance (O,) -> y (N, H', W', O), and of each layer a (N, H', W', O), mean, biased
// variance, and the running ones after this batch (O,).
extern "C" int ChainForward(int count, void **params, int *dimensions, int64_t **shapes,
                            const char **types, void *, void *) {
  return checked(count, params, dimensions, shapes, types, 0,
                 [&] { return forward<float>(count, params, shapes); });
}

// All of these but the running statistics, before and after, and dy -> dx, dr, of each layer dw, dgamma,
// dbeta; and as room to work in, as a of each layer but the last.
extern "C" int ChainGrad(int count, void **params, int *dimensions, int64_t **shapes,
                         const char **types, void *, void *) {
  return checked(count, params, dimensions, shapes, types, 0,
                 [&] { return backward<float>(count, params, shapes, true); });
}

// The same without dx, which costs as much as the first layer itself.
extern "C" int ChainGradButInput(int count, void **params, int *dimensions, int64_t **shapes,
                                 const char **types, void *, void *) {
  return checked(count, params, dimensions, shapes, types, 0,
                 [&] { return backward<float>(count, params, shapes, false); });
}

// The arguments of ChainForward -> y, by the running statistics.
extern "C" int ChainInference(int count, void **params, int *dimensions, int64_t **shapes,
                              const char **types, void *, void *) {
  return checked(count, params, dimensions, shapes, types, 0,
                 [&] { return infer<float>(count, params, shapes); });
}
