#include "binding/arguments.h"
#include "binding/recording.h"

// Arrays of the CPU's addon are JavaScript's typed arrays.

namespace llmkit::binding {

Floats Arguments::floats(size_t index) const {
  if (Recording::current() != nullptr) Recording::current()->keep(info_[index]);
  return host_floats(index);
}

Ints Arguments::ints(size_t index) const {
  if (Recording::current() != nullptr) Recording::current()->keep(info_[index]);
  return host_ints(index);
}

WeightView Arguments::matrix(size_t index, size_t cols) const {
  if (info_[index].IsTypedArray()) {
    const Floats values = floats(index);
    return dense_view(values.data, quotient(values.size, cols, "weight"), cols);
  }
  if (Recording::current() != nullptr) Recording::current()->keep(info_[index]);
  const WeightView& view = weight_of_handle(*this, info_[index]);
  if (view.cols != cols)
    range_error("weight has rows of " + std::to_string(view.cols) + ", expected " +
                std::to_string(cols));
  return view;
}

const PackedWeight* Arguments::packed(size_t index) const {
  return packed_of_handle(*this, info_[index]);
}

}  // namespace llmkit::binding
