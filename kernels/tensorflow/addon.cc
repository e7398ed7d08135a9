#include "binding/arguments.h"
#include "tensorflow/names.h"
#include "tensorflow/op.h"
#ifdef LLMKIT_TENSORFLOW_GPU
#include "tensorflow/gpu/gpu.h"
#endif

// The Node addon with llmkit's ops for TensorFlow, loaded beside tfjs-node's. It holds the weights
// that its ops name; src/tensor/backends/tensorflow/op-library.ts says what each function does.

namespace llmkit::tensorflow {
namespace {

Napi::Value names_of(Napi::Env env, const std::vector<std::string>& ops) {
  Napi::Array names = Napi::Array::New(env, ops.size());
  for (size_t i = 0; i < ops.size(); ++i) names[static_cast<uint32_t>(i)] = ops[i];
  return names;
}

/// registerOps() -> names
Napi::Value register_ops(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    if (registered_ops().empty()) {
      register_linear_ops();
      register_layer_ops();
      register_attention_ops();
      register_training_ops();
    }
  } catch (const OpError& error) {
    throw Napi::Error::New(env, error.what());
  }
  return names_of(env, registered_ops());
}

/// registerGpuKernels() -> the ops that have one
Napi::Value register_gpu_kernels(const Napi::CallbackInfo& info) {
#ifdef LLMKIT_TENSORFLOW_GPU
  return names_of(info.Env(), tensorflow_gpu::registered_kernels());
#else
  return names_of(info.Env(), {});
#endif
}

/// emulatesGpu()
Napi::Value emulates_gpu(const Napi::CallbackInfo& info) {
#ifdef LLMKIT_TENSORFLOW_GPU
  return Napi::Boolean::New(info.Env(), tensorflow_gpu::is_emulated());
#else
  return Napi::Boolean::New(info.Env(), false);
#endif
}

}  // namespace
}  // namespace llmkit::tensorflow

namespace {

Napi::Object init(Napi::Env, Napi::Object exports) {
  using namespace llmkit;
  binding::add_machine(exports);
  binding::add_weights(exports);
  binding::add_attention(exports);
  binding::add_arrays(exports);
  tensorflow::add_names(exports);
  binding::add_function<tensorflow::register_ops>(exports, "registerOps");
  binding::add_function<tensorflow::register_gpu_kernels>(exports, "registerGpuKernels");
  binding::add_function<tensorflow::emulates_gpu>(exports, "emulatesGpu");
  return exports;
}

}  // namespace

NODE_API_MODULE(llmkit_tensorflow, init)
