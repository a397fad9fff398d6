// ChainForward, ChainGrad and ChainInference of chain.cc in bfloat16, which maps before norms are kept in,
// the room too, and which 1x1 convolutions multiply. Apart, since few need it and compiling it takes a while.

#include "../chain_operator.h"

extern "C" int ChainForwardHalf(int count, void **params, int *dimensions, int64_t **shapes,
                                const char **types, void *, void *) {
  return checked(count, params, dimensions, shapes, types, (count - 4) / 10,
                 [&] { return forward<uint16_t>(count, params, shapes); });
}
extern "C" int ChainGradHalf(int count, void **params, int *dimensions, int64_t **shapes,
                             const char **types, void *, void *) {
  return checked(count, params, dimensions, shapes, types, 2 * ((count - 6) / 10) - 1,
                 [&] { return backward<uint16_t>(count, params, shapes, true); });
}
extern "C" int ChainInferenceHalf(int count, void **params, int *dimensions, int64_t **shapes,
                                  const char **types, void *, void *) {
  return checked(count, params, dimensions, shapes, types, 0,
                 [&] { return infer<uint16_t>(count, params, shapes); });
}
