#include <dlfcn.h>

#include "cuda/bench/work.h"

// cuBLAS is loaded where it is found and is no part of the build: its rate of a large product in
// bf16 is what others call the matrix rate of a GPU.

namespace llmkit::cuda::bench {
namespace {

using Handle = void*;
using Create = int (*)(Handle*);
using SetStream = int (*)(Handle, cudaStream_t);
using GemmEx = int (*)(Handle, int, int, int, int, int, const void*, const void*, int, int,
                       const void*, int, int, const void*, void*, int, int, int, int);

/// The functions that are used, null where the library lacks one.
struct Blas {
  Create create = nullptr;
  SetStream set_stream = nullptr;
  GemmEx gemm_ex = nullptr;
  bool is_there() const { return create && set_stream && gemm_ex; }
};

Blas load_blas() {
  Blas blas;
  for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
    void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) continue;
    blas.create = reinterpret_cast<Create>(dlsym(library, "cublasCreate_v2"));
    blas.set_stream = reinterpret_cast<SetStream>(dlsym(library, "cublasSetStream_v2"));
    blas.gemm_ex = reinterpret_cast<GemmEx>(dlsym(library, "cublasGemmEx"));
    break;
  }
  return blas;
}

void expect_blas(int status, const char* what) {
  if (status != 0) expect(cudaErrorUnknown, what);
}

/// y = x · wᵀ of [n, n] matrices in bf16.
Call open_product(const Blas& blas, int n) {
  constexpr int kTransposed = 1, kPlain = 0, kBf16 = 14, kFloat32 = 68, kDefault = -1;
  const size_t count = static_cast<size_t>(n) * static_cast<size_t>(n);
  const MemoryPointer x = random_bf16(count), w = random_bf16(count);
  const MemoryPointer y = empty_memory(count * sizeof(bf16));
  Handle handle = nullptr;
  expect_blas(blas.create(&handle), "cublasCreate");
  return [=](size_t, cudaStream_t stream) {
    const float one = 1, zero = 0;
    expect_blas(blas.set_stream(handle, stream), "cublasSetStream");
    expect_blas(
        blas.gemm_ex(handle, kTransposed, kPlain, n, n, n, &one, w->as<void>(), kBf16, n,
                     x->as<void>(), kBf16, n, &zero, y->as<void>(), kBf16, n, kFloat32, kDefault),
        "cublasGemmEx");
  };
}

}  // namespace

std::vector<Work> blas_works() {
  const Blas blas = load_blas();
  if (!blas.is_there()) return {};
  constexpr int kSize = 8192;
  return {{"cuBLAS 8192x8192x8192 bf16", Bound::kMatrix, 2.0 * kSize * kSize * kSize,
           [=](bool dry) { return open_product(blas, dry ? 64 : kSize); }}};
}

}  // namespace llmkit::cuda::bench
