#include "tensorflow/gpu/device_cache.h"

#include "tensorflow/gpu/held.h"
#include "tensorflow/names.h"

namespace llmkit::tensorflow_gpu {
namespace {

cuda::PageLayout layout_of(const llmkit::KvCache& host) {
  return {host.layout().E, static_cast<cuda::KvType>(host.layout().type)};
}

}  // namespace

DeviceCache::DeviceCache(int64_t number)
    : cache_(tensorflow::named_cache(number).rows(), tensorflow::named_cache(number).heads(),
             layout_of(tensorflow::named_cache(number)), memory()) {}

cuda::CacheMemory DeviceCache::memory() {
  const auto acquire = [this](size_t bytes) {
    Memory block = call_->memory(bytes);
    void* const data = block.get();
    blocks_.emplace(data, std::move(block));
    return data;
  };
  const auto release = [this](void* data) { blocks_.erase(data); };
  const auto upload = [this](void* to, const void* from, size_t bytes) {
    call_->upload(to, from, bytes);
  };
  return {acquire, release, upload};
}

cuda::CachePages DeviceCache::reserve(Call& call, const int32_t* positions, size_t count,
                                      size_t most) {
  call_ = &call;
  Call::check(cache_.reserve(positions, count, call.stream()));
  return cache_.pages(most);
}

std::shared_ptr<DeviceCache> device_cache(int64_t number) {
  return held().caches.at(number, [&] { return std::make_shared<DeviceCache>(number); });
}

}  // namespace llmkit::tensorflow_gpu
