#include "base/simd/neon.h"

#include "cpu/attention/attention.h"

namespace llmkit {
namespace {

/// Register tile: vectors of query rows by keys or columns.
constexpr int kRowVecs = 1, kSplats = 4;

}  // namespace
}  // namespace llmkit

#include "cpu/attention/generic.h"

namespace llmkit {

const AttentionKernels attention_f32_neon = {
    scratch_size, pack_tiles,     pack_columns, write,         restore,  forward_rows,
    part_size,    decode_scratch, decode_block, decode_finish, grad_rows};

}  // namespace llmkit
