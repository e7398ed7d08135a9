#include "binding/arguments.h"

// The Node addon: checks arguments and calls. src/tensor/backends/addon*.ts say what each does.

namespace {

Napi::Object init(Napi::Env, Napi::Object exports) {
  using namespace llmkit::binding;
  add_machine(exports);
  add_weights(exports);
  add_packed_weights(exports);
  add_quantization(exports);
  add_hashing(exports);
  add_files(exports);
  add_layers(exports);
  add_attention(exports);
  add_training(exports);
  add_arrays(exports);
  add_recording(exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(llmkit, init)
