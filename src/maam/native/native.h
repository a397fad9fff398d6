// What the operators have in common: threads, and the types they take.

#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <thread>
#include <vector>

// Those that this process may use, but no more than MAAM_THREADS: workers that train together share
// them. Not OMP_NUM_THREADS, which MindSpore sets for itself.
inline int64_t cores() {
  static const char *given = std::getenv("MAAM_THREADS");
  const int64_t most = given ? std::atoll(given) : 0;
  cpu_set_t cpus;
  const int64_t all = sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : CPU_COUNT(&cpus);
  return most > 0 ? std::min(all, most) : all;
}

// Calls task(i) for all i below count, on all cores, but on no more than `most` threads. They live
// no longer than the call: starting one costs 30 microseconds, while waiting ones would take the
// cores from others.
template <class Task>
void parallel(int64_t count, int64_t most, const Task &task) {
  const int64_t threads = std::max<int64_t>(std::min({cores(), count, most}), 1);
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  auto work = [&] {
    try {
      for (int64_t i; !failed && (i = next++) < count;) task(i);
    } catch (const std::exception &) {  // no memory: an exception must not leave a thread
      failed = true;
    }
  };
  std::vector<std::thread> helpers;
  helpers.reserve(threads);
  try {
    for (int64_t i = 1; i < threads; i++) helpers.emplace_back(work);
  } catch (const std::exception &) {  // no more threads to be had: those that run do it all
  }
  work();
  for (auto &helper : helpers) helper.join();
  if (failed) throw std::bad_alloc();
}

// What an operator returns to MindSpore, which raises an error for anything but 0: the arguments'
// number, their types, their sizes, or a lack of memory.
enum Outcome { kDone = 0, kBadCount = 1, kBadTypes = 2, kBadSizes = 3, kNoMemory = 4 };

template <class Body>
int guarded(const Body &body) {
  try {
    return body();
  } catch (const std::exception &) {
    return kNoMemory;
  }
}

inline bool all_float32(int count, const char **types) {
  return std::all_of(types, types + count, [](auto t) { return !std::strcmp(t, "float32"); });
}
