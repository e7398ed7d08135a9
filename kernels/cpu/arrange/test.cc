#include <algorithm>

#include "base/parallel.h"
#include "cpu/arrange/arrange.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

void check_transpose(Checks& checks, const std::vector<size_t>& shape) {
  std::vector<size_t> permutation(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) permutation[i] = i;
  size_t size = 1;
  for (const size_t extent : shape) size *= extent;
  const Buffer x(size, 1);
  Buffer y(size, 2);
  TransposeArgs p = {};
  p.axes = shape.size();
  p.x = x.data();
  p.y = y.data();
  std::copy(shape.begin(), shape.end(), p.shape);
  do {
    std::copy(permutation.begin(), permutation.end(), p.permutation);
    transpose(p);
    for (size_t i = 0; i < size; ++i) {
      std::vector<size_t> place(shape.size());
      size_t rest = i, from = 0;
      for (size_t axis = shape.size(); axis-- > 0; rest /= shape[permutation[axis]])
        place[permutation[axis]] = rest % shape[permutation[axis]];
      for (size_t axis = 0; axis < shape.size(); ++axis) from = from * shape[axis] + place[axis];
      checks.that("transpose", y[i] == x[from]);
    }
  } while (std::next_permutation(permutation.begin(), permutation.end()));
}

void check_rows(Checks& checks, size_t cols) {
  const int32_t ids[] = {4, 0, 4, 2, 4};
  const Buffer x(2 * 5 * cols, 1), start(5 * cols, 2);
  Buffer y(2 * 5 * cols, 3), sums = start;
  gather({2, 5, cols, x.data(), 5, ids, y.data()});
  for (size_t i = 0; i < 10; ++i)
    checks.same("gather", y.data() + i * cols, x.data() + (i / 5 * 5 + ids[i % 5]) * cols, cols);
  scatter_add(5, cols, x.data(), ids, sums.data());
  for (size_t c = 0; c < cols; ++c) {
    const float want = start[4 * cols + c] + x[c] + x[2 * cols + c] + x[4 * cols + c];
    checks.that("scatter_add", sums[4 * cols + c] == want);
    checks.that("an untouched row", sums[cols + c] == start[cols + c]);
  }
}

constexpr size_t kBlocks[][4] = {
    {4, 6, 8, 1}, {4, 6, 9, 3}, {1, 1, 1, 3}, {3, 1, 2, 2}, {4, 0, 8, 3}};

/// A block of a [5, 7, 9, 3] array into a larger one, the third axis backwards in memory order.
void check_strided_copy(Checks& checks, const size_t (&shape)[4]) {
  const size_t x_strides[] = {7 * 9 * 3, 9 * 3, 3, 1}, y_strides[] = {11 * 4, 4, 11 * 4 * 6, 1};
  std::vector<uint32_t> x(5 * 7 * 9 * 3), y(11 * 4 * 6 * 10, 7);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint32_t>(1000 + i);
  std::vector<uint32_t> want = y;
  StridedCopyArgs p = {4, {}, {}, {}, x.data() + 2, y.data() + 1};
  std::copy(shape, shape + 4, p.shape);
  std::copy(x_strides, x_strides + 4, p.x_strides);
  std::copy(y_strides, y_strides + 4, p.y_strides);
  strided_copy(p);
  for (size_t i = 0; i < shape[0] * shape[1] * shape[2] * shape[3]; ++i) {
    size_t rest = i, from = 2, to = 1;
    for (size_t axis = 4; axis-- > 0; rest /= shape[axis]) {
      from += rest % shape[axis] * x_strides[axis];
      to += rest % shape[axis] * y_strides[axis];
    }
    want[to] = x[from];
  }
  checks.that("strided copy, and nothing beside it", y == want);
}

void check_all(Checks& checks) {
  set_thread_count(3);
  const std::vector<size_t> shapes[] = {
      {1},         {7},           {5, 9},          {3, 0, 5},         {33, 40},
      {3, 17, 20}, {2, 18, 3, 5}, {2, 3, 1, 4, 2}, {2, 3, 2, 1, 3, 2}};
  for (const auto& shape : shapes) check_transpose(checks, shape);
  check_transpose(checks, {300, 200});
  for (const size_t* shape : {kBlocks[0], kBlocks[1], kBlocks[2], kBlocks[3], kBlocks[4]}) {
    size_t sizes[4];
    std::copy(shape, shape + 4, sizes);
    check_strided_copy(checks, sizes);
  }
  const uint32_t one = 5;
  uint32_t copy = 0;
  strided_copy({0, {}, {}, {}, &one, &copy});
  checks.that("a copy of no axes is of one word", copy == one);
  for (size_t cols : kSizes) check_rows(checks, cols);
  check_rows(checks, 0);
}

}  // namespace

int main() { return run(check_all); }
