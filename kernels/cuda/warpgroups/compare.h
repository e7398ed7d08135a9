#pragma once

#include <vector>

#include "cuda/base/cuda.h"

// The products that are compared: c [64, columns] = a [64, kDepth] · bᵀ, each by one block, of
// operands that show how the hardware rounds.

namespace llmkit::cuda {

constexpr int kCompareRows = 64, kCompareColumns = 256, kCompareDepth = 256;
constexpr size_t kLeftValues = size_t{kCompareRows} * kCompareDepth;
constexpr size_t kRightValues = size_t{kCompareColumns} * kCompareDepth;
constexpr size_t kCaseValues = kLeftValues + kRightValues;
constexpr size_t kCaseSums = size_t{kCompareRows} * kCompareColumns;

/// The kinds of values of a comparison.
enum class CompareCase {
  kWide,        // 2^-16 to 2^15 in size, of both signs
  kCancelling,  // neighbours in k whose products leave the last bits of each other
  kOneLarge,    // one of every 16 products is 2^12 to 2^24 times the others
  kSubnormal,   // values, products and sums around the smallest that there are
  kGrowing,     // of one sign: the sum is soon much larger than what is added
  kZeros,       // almost all values are zeros of both signs
};
constexpr int kCompareCases = 6;

/// a [64, kDepth], then b [256, kDepth], of a case, in bf16.
std::vector<uint16_t> compare_values(CompareCase which);

/// The ways in which kernels have products of warpgroups made: 64 columns with a in registers, b
/// along k and across it, or both in shared memory; 128 and 256 with both in shared memory.
enum class GroupForm { kRegisters, kAcross, k64, k128, k256 };
constexpr GroupForm kGroupForms[] = {GroupForm::kRegisters, GroupForm::kAcross, GroupForm::k64,
                                     GroupForm::k128, GroupForm::k256};

/// sums [kCompareCases, 64, 256] of `values`, those of all cases: by mma.sync, and by products of
/// warpgroups of a form.
cudaError_t multiply_by_warps(const uint16_t* values, float* sums, cudaStream_t stream);
cudaError_t multiply_by_form(GroupForm form, const uint16_t* values, float* sums,
                             cudaStream_t stream);

}  // namespace llmkit::cuda
