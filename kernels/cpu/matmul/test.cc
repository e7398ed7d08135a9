#include <algorithm>

#include "base/parallel.h"
#include "cpu/gemm/reference.h"
#include "cpu/matmul/matmul.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

void check(Checks& checks, MatmulArgs p) {
  const size_t batch = std::max(p.batch_a, p.batch_b);
  const Buffer a(p.batch_a * p.m * p.k, 1), b(p.batch_b * p.k * p.n, 2);
  Buffer y(batch * p.m * p.n, 3), again(batch * p.m * p.n, 4);
  p.a = a.data();
  p.b = b.data();
  p.y = y.data();
  set_thread_count(3);
  matmul(p);
  for (size_t i = 0; i < batch * p.m * p.n; ++i) {
    const size_t matrix = i / (p.m * p.n), row = i / p.n % p.m, col = i % p.n;
    const float* const from_a =
        p.a + matrix % p.batch_a * p.m * p.k + row * (p.transpose_a ? 1 : p.k);
    const float* const from_b =
        p.b + matrix % p.batch_b * p.k * p.n + col * (p.transpose_b ? p.k : 1);
    const Sum want =
        dot_reference(p.k, from_a, p.transpose_a ? p.m : 1, from_b, p.transpose_b ? 1 : p.n);
    checks.near("matmul", y[i], want.value, ulps_of(p.k), want.scale());
  }
  set_thread_count(1);
  p.y = again.data();
  matmul(p);
  checks.same("one thread", again.data(), y.data(), y.size());
}

void check_all(Checks& checks) {
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true}) {
      const auto sizes = [&](size_t batch_a, size_t batch_b, size_t m, size_t n, size_t k) {
        check(checks,
              {batch_a, batch_b, m, n, k, nullptr, nullptr, nullptr, transpose_a, transpose_b});
      };
      for (size_t size : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129}) {
        sizes(1, 1, size, 5, 7);
        sizes(2, 2, 3, size, 7);
        sizes(4, 1, 3, 5, size);
        sizes(1, 3, 3, 5, size);
      }
      sizes(1, 1, 200, 210, 300);
      sizes(2, 1, 3, 4, 0);
      sizes(1, 1, 0, 4, 3);
      sizes(2, 1, 3, 0, 4);
    }
}

}  // namespace

int main() { return run(check_all); }
