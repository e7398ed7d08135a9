#pragma once

#include <vector>

#include "binding/arguments.h"

namespace llmkit::binding {

constexpr const char* kFormatNames[] = {"f32", "bf16", "f16", "int8", "int4", "nf4", "fp4"};
constexpr const char* kComputeNames[] = {"f32", "bf16", "int8", "bf16-dequantized"};

/// A property that is a whole number from 0 to 2^53.
size_t whole(const Arguments& args, Napi::Object object, const char* key);

/// A view of what a WeightData object holds, its sizes checked. The view is good while the arrays
/// it points into are; those are added to `arrays`.
WeightView read_weight(const Arguments& args, Napi::Object data,
                       std::vector<Napi::ObjectReference>& arrays);

}  // namespace llmkit::binding
