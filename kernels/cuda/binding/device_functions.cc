#include <memory>

#include "cuda/binding/arguments.h"
#include "cuda/binding/device.h"
#include "cuda/binding/wrong_ids.h"
#include "cuda/warpgroups/warpgroups.h"

namespace llmkit::cuda {
namespace {

std::string capability(int major, int minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

Napi::Array shown(Napi::Env env) {
  Napi::Array all = Napi::Array::New(env);
  for (const ShownDevice& each : shown_devices()) {
    Napi::Object object = Napi::Object::New(env);
    object["name"] = each.name;
    object["memoryBytes"] = static_cast<double>(each.memory_bytes);
    object["computeCapability"] = capability(each.major, each.minor);
    all[all.Length()] = object;
  }
  return all;
}

/// What products of warpgroups are; a GPU that cannot multiply is one that cannot be used.
const char* warpgroup_name() {
  Warpgroups found;
  check(find_warpgroups(&found), "deviceInfo");
  return kWarpgroupNames[static_cast<size_t>(found)];
}

/// deviceInfo()
Napi::Value device_info(const Napi::CallbackInfo& info) {
  const DeviceInfo& found = device();
  Napi::Object object = Napi::Object::New(info.Env());
  object["name"] = found.name;
  object["memoryBytes"] = static_cast<double>(found.memory_bytes);
  object["freeBytes"] = static_cast<double>(usable_device_bytes());
  object["computeCapability"] = capability(found.major, found.minor);
  object["multiprocessors"] = found.multiprocessors;
  object["driverCuda"] = cuda_version(found.driver_cuda);
  object["runtime"] = cuda_version(found.runtime);
  object["leastDriver"] = least_driver(found.runtime);
  object["warpgroups"] = warpgroup_name();
  object["shown"] = shown(info.Env());
#ifdef LLMKIT_EMULATED
  object["emulated"] = true;
#else
  object["emulated"] = false;
#endif
  return object;
}

/// deviceMemory()
Napi::Value device_memory_use(const Napi::CallbackInfo& info) {
  Napi::Object object = Napi::Object::New(info.Env());
  object["inUseBytes"] = static_cast<double>(used_device_bytes());
  object["freeBytes"] = static_cast<double>(common_pool().free_bytes());
  object["peakBytes"] = static_cast<double>(peak_device_bytes());
  object["usableBytes"] = static_cast<double>(usable_device_bytes());
  return object;
}

/// limitDeviceMemory(bytes)
void limit_memory(const Napi::CallbackInfo& info) {
  limit_device_memory(Arguments(info, "limitDeviceMemory").size(0, "bytes"));
}

/// whenMemoryIsShort(release)
void when_memory_is_short(const Napi::CallbackInfo& info) {
  const Arguments args(info, "whenMemoryIsShort");
  if (!args.value(0).IsFunction()) args.expected(0, "a function");
  const auto release = std::make_shared<Napi::FunctionReference>(
      Napi::Persistent(args.value(0).As<Napi::Function>()));
  release_when_short([release] {
    const Napi::HandleScope scope(release->Env());
    return release->Call({}).ToBoolean().Value();
  });
  // The function ends with its thread of JavaScript.
  info.Env().AddCleanupHook([] { release_when_short(nullptr); });
}

/// synchronize()
void synchronize(const Napi::CallbackInfo&) {
  check(cudaStreamSynchronize(stream()), "synchronize");
  check_ids();
}

}  // namespace

void add_device(Napi::Object exports) {
  add_function<device_info>(exports, "deviceInfo");
  add_function<device_memory_use>(exports, "deviceMemory");
  add_procedure<limit_memory>(exports, "limitDeviceMemory");
  add_procedure<when_memory_is_short>(exports, "whenMemoryIsShort");
  add_procedure<synchronize>(exports, "synchronize");
}

}  // namespace llmkit::cuda
