#ifndef LLMKIT_BENCH_LIMITS_WORK_H_
#define LLMKIT_BENCH_LIMITS_WORK_H_

#include <functional>
#include <string>
#include <vector>

/** Something a core can do at most so fast. */
struct Work {
  /** As it stands in the JSON, e.g. `int8`. */
  std::string name;
  /** Bytes or operations of one call. */
  double amount;
  /** One call; `thread` says whose memory it may touch. */
  std::function<void(int thread)> call;
};

/** Streams a buffer per thread, large enough that no cache holds it. */
Work ReadWork(int threads);

/** Reads files a piece at a time, each thread its part of every file. Ends the process where one cannot be opened. */
Work FileWork(const std::vector<std::string>& paths, int threads);

/** Multiply-adds in vector registers: fp32, and bf16 and int8 dot products where there are. */
std::vector<Work> VectorWorks();

/** The same in AMX tiles; empty where the machine or its kernel has none. */
std::vector<Work> TileWorks();

#endif  // LLMKIT_BENCH_LIMITS_WORK_H_
