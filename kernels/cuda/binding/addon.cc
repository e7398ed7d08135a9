#include "cuda/binding/arguments.h"

// The Node addon of the GPU: checks arguments and launches. src/tensor/backends/addon*.ts say what
// each function does. Loading it opens no GPU: the first function that needs one does.

namespace {

Napi::Object init(Napi::Env, Napi::Object exports) {
  using namespace llmkit::cuda;
  add_device(exports);
  add_device_arrays(exports);
  add_weights(exports);
  add_linears(exports);
  add_arrays(exports);
  add_layers(exports);
  add_attention(exports);
  add_training(exports);
  add_matrices(exports);
  add_lora_linears(exports);
  add_loss(exports);
  add_sampling(exports);
  add_quantization(exports);
  add_steps(exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(llmkit_cuda, init)
