#include <algorithm>

#include "cpu/gemm/reference.h"
#include "cuda/matmul/matmul.h"
#include "cuda/testing/testing.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;

namespace {

void check(Checks& checks, MatmulArgs p) {
  const size_t batch = std::max(p.batch_a, p.batch_b);
  const std::vector<float> a = random_normal(p.batch_a * p.m * p.k, 1);
  const std::vector<float> b = random_normal(p.batch_b * p.k * p.n, 2);
  const DeviceVector<float> a_there(a), b_there(b);
  DeviceVector<float> y(batch * p.m * p.n);
  p.a = a_there.data();
  p.b = b_there.data();
  p.y = y.data();
  DeviceVector<char> workspace(cuda::matmul_workspace(p));
  expect(cuda::matmul(p, workspace.data(), stream()), "matmul");
  const std::vector<float> got = y.values();
  for (size_t i = 0; i < got.size(); ++i) {
    const size_t matrix = i / (p.m * p.n), row = i / p.n % p.m, col = i % p.n;
    const float* const from_a =
        a.data() + matrix % p.batch_a * p.m * p.k + row * (p.transpose_a ? 1 : p.k);
    const float* const from_b =
        b.data() + matrix % p.batch_b * p.k * p.n + col * (p.transpose_b ? p.k : 1);
    const Sum want =
        dot_reference(p.k, from_a, p.transpose_a ? p.m : 1, from_b, p.transpose_b ? 1 : p.n);
    checks.near("matmul", got[i], want.value, ulps_of(p.k), want.scale());
  }
}

void check_all(Checks& checks) {
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true}) {
      const auto sizes = [&](size_t batch_a, size_t batch_b, size_t m, size_t n, size_t k) {
        check(checks,
              {batch_a, batch_b, m, n, k, nullptr, nullptr, nullptr, transpose_a, transpose_b});
      };
      for (const size_t size : {1, 2, 15, 16, 17, 33}) {
        sizes(1, 1, size, 5, 7);
        sizes(2, 2, 3, size, 7);
        sizes(4, 1, 3, 5, size);
        sizes(1, 3, 3, 5, size);
        sizes(6, 2, 3, 5, size);
      }
      sizes(3, 3, 100, 110, 90);
      sizes(2, 1, 3, 4, 0);
      sizes(1, 1, 0, 4, 3);
    }
  check(checks, {4200, 1, 1, 1, 3, nullptr, nullptr, nullptr, false, false});
}

}  // namespace

int main() { return run_on_device(check_all); }
