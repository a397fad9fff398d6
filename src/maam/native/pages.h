// Large pages for maps: looking up the place of small ones costs a tenth of a training step.

#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <mutex>
#include <unordered_set>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

// Asks for large pages for all that these bytes touch, once; systems without have none.
inline void ask_for_large_pages(const void *from, int64_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr int64_t kSmall = 1 << 19;
  constexpr uintptr_t kPage = 1 << 21;
  if (bytes < kSmall) return;
  static std::mutex mutex;
  static std::unordered_set<uintptr_t> asked;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto start = reinterpret_cast<uintptr_t>(from), end = start + bytes;
  for (uintptr_t page = start / kPage * kPage; page < end; page += kPage)
    if (asked.insert(page).second) {
      const auto address = reinterpret_cast<void *>(page);
      madvise(address, kPage, MADV_HUGEPAGE);
      madvise(address, kPage, MADV_COLLAPSE);  // what is there already; older systems do it later
    }
#endif
}

// The same for the arguments of an operator, float32 or uint16.
inline void ask_for_large_pages(int count, void **params, int *dimensions, int64_t **shapes,
                                const char **types) {
  for (int i = 0; i < count; i++) {
    int64_t bytes = std::strcmp(types[i], "uint16") ? 4 : 2;
    for (int k = 0; k < dimensions[i]; k++) bytes *= shapes[i][k];
    ask_for_large_pages(params[i], bytes);
  }
}
