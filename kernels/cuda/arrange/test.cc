#include <algorithm>

#include "cuda/arrange/arrange.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;

namespace {

void check_transpose(Checks& checks, const std::vector<size_t>& shape) {
  std::vector<size_t> permutation(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) permutation[i] = i;
  size_t size = 1;
  for (const size_t extent : shape) size *= extent;
  const Random x(size, 1, 1);
  TransposeArgs p = {};
  p.axes = shape.size();
  p.x = x.data();
  std::copy(shape.begin(), shape.end(), p.shape);
  do {
    Shifted<float> y(size, 3);
    p.y = y.data();
    std::copy(permutation.begin(), permutation.end(), p.permutation);
    expect(gpu::transpose(p, stream()), "transpose");
    const std::vector<float> got = y.values(checks);
    for (size_t i = 0; i < size; ++i) {
      std::vector<size_t> place(shape.size());
      size_t rest = i, from = 0;
      for (size_t axis = shape.size(); axis-- > 0; rest /= shape[permutation[axis]])
        place[permutation[axis]] = rest % shape[permutation[axis]];
      for (size_t axis = 0; axis < shape.size(); ++axis) from = from * shape[axis] + place[axis];
      checks.that("transpose", got[i] == x[from]);
    }
  } while (std::next_permutation(permutation.begin(), permutation.end()));
}

using Sizes = std::vector<size_t>;

struct Copy {
  Sizes shape, x_strides, y_strides;
  size_t x_size, y_size, x_start, y_start;
};

void check_copy(Checks& checks, const Copy& c, size_t offset) {
  std::vector<int32_t> x(c.x_size), want(c.y_size, -1);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int32_t>(i * 7 + 1);
  const Shifted<int32_t> from(x, offset);
  Shifted<int32_t> to(c.y_size, 3 - offset);
  StridedCopyArgs p = {};
  p.axes = c.shape.size();
  size_t count = 1;
  for (size_t axis = 0; axis < p.axes; ++axis) {
    p.shape[axis] = c.shape[axis];
    p.x_strides[axis] = c.x_strides[axis];
    p.y_strides[axis] = c.y_strides[axis];
    count *= c.shape[axis];
  }
  p.x = reinterpret_cast<const uint32_t*>(from.data()) + c.x_start;
  p.y = reinterpret_cast<uint32_t*>(to.data()) + c.y_start;
  expect(gpu::strided_copy(p, stream()), "strided_copy");
  for (size_t i = 0; i < count; ++i) {
    size_t rest = i, source = c.x_start, target = c.y_start;
    for (size_t axis = p.axes; axis-- > 0; rest /= c.shape[axis]) {
      source += rest % c.shape[axis] * c.x_strides[axis];
      target += rest % c.shape[axis] * c.y_strides[axis];
    }
    want[target] = x[source];
  }
  checks.that("strided_copy", to.values(checks) == want);
}

void check_copies(Checks& checks) {
  const Copy cases[] = {
      {{}, {}, {}, 1, 1, 0, 0},                                     // a scalar
      {{100}, {1}, {1}, 120, 110, 17, 6},                           // a slice
      {{33}, {3}, {2}, 99, 70, 0, 1},                               // every third to every second
      {{3, 5, 7}, {70, 7, 1}, {35, 7, 1}, 210, 105, 14, 0},         // of the middle axis
      {{3, 5, 7}, {140, 10, 1}, {35, 7, 1}, 420, 105, 3, 0},        // of two axes
      {{4, 9}, {9, 1}, {20, 1}, 36, 80, 0, 5},                      // padding
      {{3, 2, 4, 5}, {0, 5, 0, 1}, {40, 20, 5, 1}, 10, 120, 0, 0},  // a tile
      {{6, 5, 1}, {5, 1, 1}, {10, 2, 9}, 30, 60, 0, 1},             // packing the last axis
      {{2, 3, 4, 2, 3, 5}, {360, 120, 30, 15, 5, 1}, {1, 2, 6, 24, 48, 144}, 720, 720, 0, 0},
      {{2, 0, 4}, {8, 4, 1}, {8, 4, 1}, 16, 16, 0, 0},  // nothing
      {{1, 1}, {7, 9}, {3, 2}, 1, 1, 0, 0},             // strides that are not walked
  };
  for (const Copy& c : cases)
    for (size_t offset : {0, 1, 3}) check_copy(checks, c, offset);
  check_copy(checks, {{300, 64}, {64, 1}, {128, 1}, 19200, 38400, 0, 64}, 0);
}

void check_rows(Checks& checks, size_t cols, size_t offset) {
  const std::vector<int32_t> ids = {4, 0, 4, 2, 4};
  const Shifted<int32_t> device_ids(ids, 1);
  const Random x(2 * 5 * cols, 1, offset), start(5 * cols, 2, 0);
  Shifted<float> y(2 * 5 * cols, offset), sums(start.host, offset);
  expect(gpu::gather({2, 5, cols, x.data(), 5, device_ids.data(), y.data()}, stream()), "gather");
  const std::vector<float> gathered = y.values(checks);
  for (size_t i = 0; i < 10; ++i)
    checks.same("gather", gathered.data() + i * cols,
                x.host.data() + (i / 5 * 5 + ids[i % 5]) * cols, cols);
  expect(gpu::scatter_add({5, 5, cols, x.data(), device_ids.data(), sums.data()}, stream()),
         "scatter_add");
  const std::vector<float> sum = sums.values(checks);
  for (size_t c = 0; c < cols; ++c) {
    const float want = start[4 * cols + c] + x[c] + x[2 * cols + c] + x[4 * cols + c];
    checks.that("scatter_add", sum[4 * cols + c] == want);
    checks.that("an untouched row", sum[cols + c] == start[cols + c]);
  }
}

/// Many rows that meet, in the CPU's order.
void check_many_rows(Checks& checks, size_t count, size_t rows, size_t cols) {
  const Random x(count * cols, 1, 0);
  std::vector<int32_t> ids(count);
  for (size_t i = 0; i < count; ++i) ids[i] = static_cast<int32_t>(i * i % 31 % rows);
  std::vector<float> want(rows * cols, 0.5f);
  const Shifted<int32_t> device_ids(ids, 0);
  Shifted<float> y(want, 1);
  expect(gpu::scatter_add({count, rows, cols, x.data(), device_ids.data(), y.data()}, stream()),
         "scatter_add");
  scatter_add(count, cols, x.host.data(), ids.data(), want.data());
  checks.that("scatter_add as on the CPU", same_bytes(y.values(checks), want));
}

void check_wrong_ids(Checks& checks) {
  const Shifted<int32_t> ids(std::vector<int32_t>{-1, 1, 5, 2147483647}, 0);
  const Random x(20, 1, 0);
  Shifted<float> y(16, 0), sums(std::vector<float>(20, 0.0f), 0);
  expect(gpu::gather({1, 5, 4, x.data(), 4, ids.data(), y.data()}, stream()), "gather");
  const std::vector<float> got = y.values(checks);
  for (size_t i = 0; i < 16; ++i)
    checks.that("NaN outside", i / 4 == 1 ? got[i] == x[i] : std::isnan(got[i]));
  expect(gpu::scatter_add({4, 5, 4, x.data(), ids.data(), sums.data()}, stream()), "scatter_add");
  const std::vector<float> sum = sums.values(checks);
  for (size_t i = 0; i < 20; ++i) checks.that("nothing outside", sum[i] == (i / 4 == 1 ? x[i] : 0));
  const TestReport gathered, added;
  const Shifted<int32_t> wrong(std::vector<int32_t>{2, 5}, 0);
  expect(gpu::gather({1, 5, 4, x.data(), 2, wrong.data(), y.data()}, stream(), gathered.get()),
         "gather");
  expect(gpu::scatter_add({2, 5, 4, x.data(), wrong.data(), sums.data()}, stream(), added.get()),
         "scatter_add");
  expect(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
  checks.that("reported", gathered.says(5, 5) && added.says(5, 5));
}

void check_fill(Checks& checks, size_t n, size_t offset) {
  Shifted<uint32_t> y(n, offset);
  expect(gpu::fill(n, 0x40490fdb, y.data(), stream()), "fill");
  checks.that("fill", y.values(checks) == std::vector<uint32_t>(n, 0x40490fdb));
}

void check_all(Checks& checks) {
  const std::vector<size_t> shapes[] = {
      {1}, {7}, {5, 9}, {33, 40}, {3, 17, 20}, {2, 18, 3, 5}, {2, 3, 1, 4, 2}, {2, 3, 2, 1, 3, 2}};
  for (const auto& shape : shapes) check_transpose(checks, shape);
  check_transpose(checks, {300, 200});
  check_copies(checks);
  for (size_t cols : kSizes)
    for (size_t offset : {0, 1, 2}) {
      check_rows(checks, cols, offset);
      check_fill(checks, cols, offset);
    }
  check_many_rows(checks, 1000, 31, 5);
  check_many_rows(checks, 257, 3, 300);
  check_many_rows(checks, 256, 1, 1);
  check_wrong_ids(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
