#include <algorithm>

#include "cuda/bench/work.h"
#include "cuda/packed_linear/packed_linear.h"

namespace llmkit::cuda::bench {
namespace {

/// A stored weight and how it is called.
struct Stored {
  const char* name;
  WeightFormat format;
  size_t group_size;  // 0: 16-bit values
};
constexpr Stored kStored[] = {{"int4", WeightFormat::kInt4, 128},
                              {"nf4", WeightFormat::kNf4, 64},
                              {"int8", WeightFormat::kInt8, 128},
                              {"bf16", WeightFormat::kBf16, 0}};

struct Shape {
  size_t rows, cols;
};
constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {4096, 14336}};
constexpr size_t kRowCounts[] = {1, 16, 512, 4096};
/// More than one tile of the kernels for many rows.
constexpr size_t kDryRows = 70;
/// Weights of so many bytes in all are read in turn, which no cache holds.
constexpr size_t kRotated = size_t{1} << 30;

/// Copies of a packed weight, so that a call finds none of its bytes in a cache.
struct Weights {
  std::vector<PackedWeight> copies;
  std::vector<MemoryPointer> memory;

  Weights(const Stored& stored, const Shape& shape, size_t bytes_in_all,
          Instructions instructions = invariant_instructions()) {
    const size_t count = shape.rows * shape.cols;
    const size_t groups = stored.group_size == 0 ? 0 : count / stored.group_size;
    const MemoryPointer codes = stored.group_size == 0 ? random_bf16(count) : random_memory(count);
    const std::vector<float> scale(groups + 1, 0.015625f);
    const MemoryPointer scales = copy_of(scale.data(), scale.size() * sizeof(float));
    WeightView view;
    view.format = stored.format;
    view.rows = shape.rows;
    view.cols = shape.cols;
    view.codes = codes->as<uint8_t>();
    view.group_size = stored.group_size;
    view.scales = groups > 0 ? scales->as<float>() : nullptr;
    PackedWeight packed = packed_form(view, groups > 0 ? ScaleType::kBf16 : ScaleType::kNone);
    packed.instructions = instructions;
    const size_t bytes = packed_bytes(packed);
    do {
      memory.push_back(empty_memory(bytes));
      place_packed(packed, memory.back()->as<void>());
      expect(pack_weight(view, packed, nullptr), "pack_weight");
      copies.push_back(packed);
    } while (copies.size() * bytes < bytes_in_all);
    expect(cudaDeviceSynchronize(), "pack_weight");
  }
};

Shape shape_of(const Shape& shape, bool dry) { return dry ? Shape{256, 256} : shape; }

Call open_forward(const Stored& stored, const Shape& whole, size_t rows, Instructions instructions,
                  bool dry) {
  const size_t m = dry ? std::min(rows, kDryRows) : rows;
  const Shape shape = shape_of(whole, dry);
  const auto weights = std::make_shared<Weights>(stored, shape, dry ? 0 : kRotated, instructions);
  const MemoryPointer x = random_floats(m * shape.cols);
  const MemoryPointer y = empty_memory(m * shape.rows * sizeof(float));
  PackedLayer layer;
  layer.weight = weights->copies.data();
  layer.y = y->as<float>();
  const MemoryPointer workspace =
      empty_memory(packed_linears_workspace({m, x->as<float>(), &layer, 1}) + 1);
  return [=](size_t turn, cudaStream_t stream) {
    PackedLayer now = layer;
    now.weight = &weights->copies[turn % weights->copies.size()];
    expect(packed_linears({m, x->as<float>(), &now, 1}, workspace->as<void>(), stream), "linear");
    static_cast<void>(y);  // the layer points there
  };
}

/// A gate and what it gates, one of the shape each.
Call open_gated(const Stored& stored, const Shape& whole, size_t rows, bool dry) {
  const size_t m = dry ? std::min(rows, kDryRows) : rows;
  const Shape shape = shape_of(whole, dry);
  const auto weights = std::make_shared<Weights>(stored, shape, dry ? 0 : kRotated);
  const MemoryPointer x = random_floats(m * shape.cols);
  const MemoryPointer y = empty_memory(m * shape.rows * sizeof(float));
  const auto layers_of = [=](size_t turn) {
    std::vector<PackedLayer> layers(2);
    for (size_t i = 0; i < 2; ++i)
      layers[i].weight = &weights->copies[(2 * turn + i) % weights->copies.size()];
    layers[0].ending = Ending::kGates;
    layers[0].y = y->as<float>();
    return layers;
  };
  const std::vector<PackedLayer> first = layers_of(0);
  const MemoryPointer workspace =
      empty_memory(packed_linears_workspace({m, x->as<float>(), first.data(), 2}) + 1);
  return [=](size_t turn, cudaStream_t stream) {
    const std::vector<PackedLayer> layers = layers_of(turn);
    expect(packed_linears({m, x->as<float>(), layers.data(), 2}, workspace->as<void>(), stream),
           "gated linear");
  };
}

Call open_gradient(const Stored& stored, const Shape& whole, size_t rows, bool dry) {
  const size_t m = dry ? std::min(rows, kDryRows) : rows;
  const Shape shape = shape_of(whole, dry);
  const auto weights = std::make_shared<Weights>(stored, shape, dry ? 0 : kRotated);
  const MemoryPointer dy = random_floats(m * shape.rows);
  const MemoryPointer dx = empty_memory(m * shape.cols * sizeof(float));
  PackedGradInputArgs args;
  args.m = m;
  args.dy = dy->as<float>();
  args.dx = dx->as<float>();
  args.weight = weights->copies.data();
  const MemoryPointer workspace = empty_memory(packed_grad_input_workspace(args) + 1);
  return [=](size_t turn, cudaStream_t stream) {
    PackedGradInputArgs now = args;
    now.dy = dy->as<float>();
    now.dx = dx->as<float>();
    now.weight = &weights->copies[turn % weights->copies.size()];
    expect(packed_grad_input(now, workspace->as<void>(), stream), "linear's gradient");
  };
}

/// Bytes of a packed weight: what a product with few rows has to read.
double weight_bytes(const Stored& stored, const Shape& shape) {
  WeightView view;
  view.format = stored.format;
  view.rows = shape.rows;
  view.cols = shape.cols;
  view.group_size = stored.group_size;
  return static_cast<double>(
      packed_bytes(packed_form(view, stored.group_size > 0 ? ScaleType::kBf16 : ScaleType::kNone)));
}

std::string title(const char* op, const Stored& stored, const Shape& shape, size_t m) {
  return std::string(op) + " " + stored.name + " " + std::to_string(shape.rows) + "x" +
         std::to_string(shape.cols) + ", M=" + std::to_string(m);
}

}  // namespace

std::vector<Work> linear_works() {
  std::vector<Work> works;
  for (const Stored& stored : kStored)
    for (const Shape& shape : kShapes)
      for (const size_t m : kRowCounts) {
        const double operations =
            2.0 * static_cast<double>(m) * static_cast<double>(shape.rows * shape.cols);
        const bool few = m <= 16;
        for (const Timed& timed : timed_instructions()) {
          works.push_back(
              {title("linear", stored, shape, m) + timed.ending,
               few ? Bound::kCopy : Bound::kMatrix, few ? weight_bytes(stored, shape) : operations,
               [=](bool dry) { return open_forward(stored, shape, m, timed.instructions, dry); }});
          if (few) break;
        }
        if (shape.rows > shape.cols)
          works.push_back({title("gate and up", stored, shape, m),
                           few ? Bound::kCopy : Bound::kMatrix,
                           2 * (few ? weight_bytes(stored, shape) : operations),
                           [=](bool dry) { return open_gated(stored, shape, m, dry); }});
        if (few) continue;
        works.push_back({title("dX", stored, shape, m), Bound::kMatrix, operations,
                         [=](bool dry) { return open_gradient(stored, shape, m, dry); }});
      }
  return works;
}

}  // namespace llmkit::cuda::bench
