#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda/base/cuda.h"

// Runs the tests of all CUDA kernels on a GPU and ends with a table. Every test is a process of its
// own, for a kernel that fails spoils all that follows in its process. `llmkit_cuda_test <op>...`
// runs some.

struct Test {
  const char* op;
  int (*run)();
};

#include "cuda/tests.inc"

namespace {

struct Outcome {
  const char* op;
  bool passed;
  double seconds;
};

/// The status of a test, run in a child process.
bool passes(const Test& test) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    std::exit(test.run());  // not _exit: what compute-sanitizer found is told at the end
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

Outcome run(const Test& test) {
  using Clock = std::chrono::steady_clock;
  std::printf("%s: ", test.op);
  const Clock::time_point start = Clock::now();
  const bool passed = passes(test);
  return {test.op, passed, std::chrono::duration<double>(Clock::now() - start).count()};
}

bool is_asked_for(const Test& test, int count, char** names) {
  if (count == 0) return true;
  for (int i = 0; i < count; ++i)
    if (std::strcmp(names[i], test.op) == 0) return true;
  return false;
}

/// Whether there is a GPU, asked in a child: CUDA does not survive a fork.
bool has_device() {
  const pid_t child = fork();
  if (child == 0) {
    int devices = 0;
    _exit(cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0 ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (!has_device()) {
    std::printf("skip: no CUDA device\n");
    return 0;
  }
  std::vector<Outcome> outcomes;
  for (const Test& test : kTests)
    if (is_asked_for(test, count - 1, arguments + 1)) outcomes.push_back(run(test));
  size_t failed = 0;
  std::printf("\n%-20s %-8s %s\n", "op", "result", "seconds");
  for (const Outcome& outcome : outcomes) {
    failed += !outcome.passed;
    std::printf("%-20s %-8s %.2f\n", outcome.op, outcome.passed ? "passed" : "FAILED",
                outcome.seconds);
  }
  std::printf("%zu of %zu passed\n", outcomes.size() - failed, outcomes.size());
  return failed == 0 && !outcomes.empty() ? 0 : 1;
}
