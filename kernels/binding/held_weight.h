#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "binding/arguments.h"
#include "binding/weight_reader.h"

namespace llmkit::binding {

/// What a weight's handle stands for. The references keep the JavaScript arrays alive.
struct HeldWeight {
  WeightView view;
  std::unique_ptr<PackedWeight> packed;  // null for products in float32
  std::vector<Napi::ObjectReference> arrays;
  size_t users = 0;  // threads that work with it

  /// Lets go of the stored form, where the packed one is all that is needed: sizes stay.
  void keep_packed(std::unique_ptr<PackedWeight> made) {
    packed = std::move(made);
    arrays.clear();
    view.codes = nullptr;
    view.scales = nullptr;
    view.nested = {};
    view.zeros = nullptr;
  }
};

/// A handle for JavaScript, which owns the weight.
Napi::Value handle_of(Napi::Env env, std::unique_ptr<HeldWeight> held);
HeldWeight& held_weight(const Arguments& args, const Napi::Value& handle);

}  // namespace llmkit::binding
