#pragma once

#include "base/simd/avx512.h"
#include "cpu/packed_int8/prepare_avx512.h"
#include "cpu/packed_int8/product.h"

// The kernels of AVX-512, with its dot products (VNNI) where the file that includes this has them.

namespace llmkit {
namespace {  // a copy per file: built with its flags

bool takes_many(const PackedWeight&, size_t m) { return m > kFewRows; }

constexpr PackedKernels kManyKernels = {prepare_int8_blocks<kManyRows>,
                                        many_int8<kManyRows>,
                                        many_int8<kManyRows>,
                                        kFewRows,
                                        kPanelTiles,
                                        1,
                                        kManyRows,
                                        0,
                                        takes_many};
constexpr PackedKernels few_kernels() {
  PackedKernels kernels = {prepare_int8_blocks<kShareRows>,
                           few_int8<kShareRows>,
                           few_int8<kShareRows>,
                           kFewRows,
                           1,
                           1,
                           kShareRows};
  kernels.few_tiles = 2;
  return kernels;
}
constexpr PackedKernels kFewKernels = few_kernels();

}  // namespace
}  // namespace llmkit
