#include "tensorflow/gpu/held.h"

#include "tensorflow/names.h"

namespace llmkit::tensorflow_gpu {
namespace {

class Follower final : public tensorflow::Listener {
 public:
  explicit Follower(Held& held) : held_(held) {}

  void weight_forgotten(int64_t number) override { held_.weights.forget(number); }
  void cache_forgotten(int64_t number) override { held_.caches.forget(number); }
  void rows_selected(int64_t number, size_t count, const int32_t* indices) override {
    if (const auto cache = held_.caches.find(number)) cache->select(count, indices);
  }
  size_t cache_bytes(int64_t number) override {
    const auto cache = held_.caches.find(number);
    return cache == nullptr ? 0 : cache->bytes();
  }

 private:
  Held& held_;
};

}  // namespace

Held& held() {
  static Held* const all = [] {
    auto* const made = new Held;
    tensorflow::set_listener(new Follower(*made));
    return made;
  }();
  return *all;
}

}  // namespace llmkit::tensorflow_gpu
