// What the operators have in common: threads, and the types they take.

#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

inline int64_t cores() {
  cpu_set_t cpus;
  return sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : CPU_COUNT(&cpus);
}

// Calls task(i) for all i below count, on all cores, but on no more than `most` threads. They live
// no longer than the call: starting one costs 30 microseconds, while waiting ones would take the
// cores from others.
template <class Task>
void parallel(int64_t count, int64_t most, const Task &task) {
  std::atomic<int64_t> next{0};
  auto work = [&] {
    for (int64_t i; (i = next++) < count;) task(i);
  };
  std::vector<std::thread> helpers;
  try {
    for (int64_t i = std::min({cores(), count, most}); i > 1; i--) helpers.emplace_back(work);
  } catch (const std::system_error &) {  // no more threads to be had: those that run do it all
  }
  work();
  for (auto &helper : helpers) helper.join();
}

inline bool all_float32(int count, const char **types) {
  return std::all_of(types, types + count, [](auto t) { return !std::strcmp(t, "float32"); });
}
