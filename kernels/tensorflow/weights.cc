#include "tensorflow/weights.h"

#include <mutex>
#include <unordered_map>

#include "binding/arguments.h"

namespace llmkit::tensorflow {
namespace {

/// The weights that ops can name. TensorFlow keeps a kernel per number, so that numbers are not
/// used again.
struct Names {
  std::mutex mutex;
  int64_t next = 0;
  std::unordered_map<int64_t, Matrix> matrices;
};

Names& weight_names() {
  static Names* const all = new Names;
  return *all;
}

/// nameWeight(handle): who holds the number keeps the handle alive.
Napi::Value name_weight(const Napi::CallbackInfo& info) {
  const binding::Arguments args(info, "nameWeight");
  const Matrix matrix{binding::weight_of_handle(args, info[0]),
                      binding::packed_of_handle(args, info[0])};
  Names& all = weight_names();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.matrices.emplace(all.next, matrix);
  return Napi::Number::New(info.Env(), static_cast<double>(all.next++));
}

void forget_weight(const Napi::CallbackInfo& info) {
  const binding::Arguments args(info, "forgetWeight");
  Names& all = weight_names();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.matrices.erase(static_cast<int64_t>(args.size(0, "number")));
}

}  // namespace

Matrix named_weight(int64_t number) {
  Names& all = weight_names();
  const std::lock_guard<std::mutex> lock(all.mutex);
  const auto found = all.matrices.find(number);
  if (found == all.matrices.end()) throw OpError("the weight has been disposed of");
  return found->second;
}

void add_weight_names(Napi::Object exports) {
  binding::add_function<name_weight>(exports, "nameWeight");
  binding::add_procedure<forget_weight>(exports, "forgetWeight");
}

}  // namespace llmkit::tensorflow
