#include "cpu/gemm/gemm.h"
#include "cpu/gemm/reference.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

/// Rows are one element further apart than they are long.
void check_dot(Checks& checks, size_t m, size_t n, size_t k) {
  const size_t ld = k + 1, ldy = n + 1;
  const Buffer x(m * ld, 1), w(n * ld, 2, 3), bias(n, 3);
  Buffer y(m * ldy, 4), alone(n, 5);
  gemm_f32().dot({m, n, k, x.data(), ld, w.data(), ld, bias.data(), y.data(), ldy});
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) {
      const Sum want = dot_reference(k, x.data() + i * ld, 1, w.data() + j * ld, 1, bias[j]);
      checks.near("dot", y[i * ldy + j], want.value, ulps_of(k), want.scale());
    }
    gemm_f32().dot({1, n, k, x.data() + i * ld, ld, w.data(), ld, bias.data(), alone.data(), n});
    checks.same("a row alone", alone.data(), y.data() + i * ldy, n);
  }
}

void check_axpy(Checks& checks, size_t m, size_t n, size_t k, bool transposed) {
  const size_t lda = (transposed ? m : k) + 1, ldb = n + 1;
  const size_t row_step = transposed ? 1 : lda, k_step = transposed ? lda : 1;
  const Buffer a((transposed ? k : m) * lda, 1), b(k * ldb, 2, 3);
  Buffer y(m * ldb, 3), pieces(m * ldb, 4);
  gemm_f32().axpy({m, n, k, a.data(), row_step, k_step, b.data(), ldb, y.data(), ldb, false});
  for (size_t i = 0; i < m; ++i)
    for (size_t j = 0; j < n; ++j) {
      const Sum want = dot_reference(k, a.data() + i * row_step, k_step, b.data() + j, ldb);
      checks.near("axpy", y[i * ldb + j], want.value, ulps_of(k), want.scale());
    }
  const size_t cut = k / 3;
  gemm_f32().axpy(
      {m, n, cut, a.data(), row_step, k_step, b.data(), ldb, pieces.data(), ldb, false});
  gemm_f32().axpy({m, n, k - cut, a.data() + cut * k_step, row_step, k_step, b.data() + cut * ldb,
                   ldb, pieces.data(), ldb, true});
  for (size_t i = 0; i < m; ++i)
    checks.same("k in two pieces", pieces.data() + i * ldb, y.data() + i * ldb, n);
}

void check_all(Checks& checks) {
  for (size_t size : kSizes) {
    check_dot(checks, 3, 5, size);
    check_axpy(checks, 3, size, 5, false);
    check_axpy(checks, 3, 5, size, true);
  }
  for (size_t m : {1, 2, 4, 6, 9, 13})
    for (size_t n : {1, 3, 4, 9, 130}) {
      check_dot(checks, m, n, 40);
      check_axpy(checks, m, n, 300, false);
      check_axpy(checks, m, n, 40, true);
    }
  check_dot(checks, 2, 2, 0);
  check_axpy(checks, 2, 20, 0, false);
  for (const bool transposed : {false, true}) {
    check_axpy(checks, 0, 5, 7, transposed);
    check_axpy(checks, 3, 0, 7, transposed);
  }
  check_dot(checks, 0, 5, 7);
  check_dot(checks, 3, 0, 7);
}

}  // namespace

int main() { return run(check_all); }
