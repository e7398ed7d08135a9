#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/binding/arguments.h"
#include "cuda/binding/weight_pager.h"
#include "cuda/packed/packed.h"

namespace llmkit::cuda {

/// Memory of a weight.
struct HeldPart {
  Block block;
  size_t bytes = 0;
};

/// What a weight's handle stands for. A packed one has no stored bytes, only their sizes.
struct HeldWeight {
  static constexpr uint64_t kMark = 0x6c6c6d6b69745757;  // no other handle begins so
  uint64_t mark = kMark;
  bool disposed = false;
  WeightView view;                       // of device memory
  std::unique_ptr<PackedWeight> packed;  // null for products in float32
  std::vector<HeldPart> parts;           // where they lie; none where they are paged
  std::unique_ptr<PagedBytes> paged;     // null where they stay on the device
};

/// The weight of a handle, on the device for what is queued next; TypeError for anything else,
/// RangeError once it is disposed of.
HeldWeight& held_weight(const Arguments& args, const Napi::Value& handle);

}  // namespace llmkit::cuda
