#include "binding/arguments.h"

#include <cmath>

namespace llmkit::binding {

void Arguments::range_error(const std::string& message) const {
  throw Napi::RangeError::New(info_.Env(), std::string(name_) + ": " + message);
}

void Arguments::type_error(const std::string& message) const {
  throw Napi::TypeError::New(info_.Env(), std::string(name_) + ": " + message);
}

void Arguments::wrong_array(size_t index, napi_typedarray_type wanted) const {
  expected(index, wanted == napi_float32_array ? "a Float32Array"
                  : wanted == napi_uint8_array ? "a Uint8Array"
                                               : "an Int32Array");
}

void Arguments::expected(size_t index, const char* what) const {
  type_error("argument " + std::to_string(index + 1) + " must be " + what);
}

void Arguments::expect(size_t got, size_t want, const char* what) const {
  if (got == want) return;
  range_error(std::string(what) + " must have " + std::to_string(want) + " elements, got " +
              std::to_string(got));
}

size_t Arguments::product(std::initializer_list<size_t> factors) const {
  constexpr size_t kMost = size_t{1} << 53;
  size_t result = 1;
  for (const size_t factor : factors) {
    if (factor != 0 && result > kMost / factor) range_error("the sizes are too large");
    result *= factor;
  }
  return result;
}

size_t Arguments::quotient(size_t size, size_t divisor, const char* what) const {
  if (divisor == 0 || size % divisor != 0)
    range_error(std::string(what) + " has " + std::to_string(size) + " elements, not rows of " +
                std::to_string(divisor));
  return size / divisor;
}

double Arguments::number(size_t index) const {
  double value = 0;
  if (napi_get_value_double(info_.Env(), info_[index], &value) != napi_ok)
    expected(index, "a number");
  return value;
}

size_t Arguments::size(size_t index, const char* what) const {
  const double value = number(index);
  if (!(value >= 0 && value <= 9007199254740992.0) || value != std::floor(value))
    range_error(std::string(what) + " must be a whole number, got " + std::to_string(value));
  return static_cast<size_t>(value);
}

size_t Arguments::positive(size_t index, const char* what) const {
  const size_t value = size(index, what);
  if (value == 0) range_error(std::string(what) + " must not be 0");
  return value;
}

bool Arguments::flag(size_t index) const {
  bool value = false;
  if (napi_get_value_bool(info_.Env(), info_[index], &value) != napi_ok)
    expected(index, "a boolean");
  return value;
}

std::string Arguments::text(size_t index) const {
  if (!info_[index].IsString()) expected(index, "a string");
  return info_[index].As<Napi::String>().Utf8Value();
}

size_t Arguments::choice(size_t index, const char* const* names, size_t count) const {
  const std::string name = text(index);
  for (size_t i = 0; i < count; ++i)
    if (name == names[i]) return i;
  std::string list;
  for (size_t i = 0; i < count; ++i) list += std::string(i == 0 ? "" : ", ") + names[i];
  range_error("expected one of " + list + ", got " + name);
}

}  // namespace llmkit::binding
