#include "cuda/warpgroups/warpgroups.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda/warpgroups/compare.h"

namespace llmkit::cuda {
namespace {

constexpr size_t kAllValues = kCompareCases * kCaseValues, kAllSums = kCompareCases * kCaseSums;

struct FreeMemory {
  void operator()(void* data) const { cudaFree(data); }
};

/// Memory of the device, null where there is none.
std::unique_ptr<void, FreeMemory> device_bytes(size_t bytes) {
  void* data = nullptr;
  return std::unique_ptr<void, FreeMemory>(cudaMalloc(&data, bytes) == cudaSuccess ? data
                                                                                   : nullptr);
}

/// The sums that are on the device, with whatever happened before.
cudaError_t read_sums(const float* from, std::vector<float>& to) {
  return cudaMemcpy(to.data(), from, kAllSums * sizeof(float), cudaMemcpyDeviceToHost);
}

/// Whether all forms give the bits of mma.sync, of values on the device.
cudaError_t compare(const uint16_t* values, float* sums, bool* same) {
  std::vector<float> want(kAllSums), got(kAllSums);
  cudaError_t error = multiply_by_warps(values, sums, nullptr);
  if (error == cudaSuccess) error = read_sums(sums, want);
  *same = true;
  for (const GroupForm form : kGroupForms) {
    if (error == cudaSuccess) error = multiply_by_form(form, values, sums, nullptr);
    if (error == cudaSuccess) error = read_sums(sums, got);
    if (error != cudaSuccess) return error;
    *same &= std::memcmp(got.data(), want.data(), kAllSums * sizeof(float)) == 0;
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t compare_warpgroups(Warpgroups* found) {
  *found = Warpgroups::kNone;
  if (!has_warpgroups()) return cudaSuccess;
  *found = Warpgroups::kUnknown;
  std::vector<uint16_t> values;
  for (int i = 0; i < kCompareCases; ++i) {
    const std::vector<uint16_t> some = compare_values(static_cast<CompareCase>(i));
    values.insert(values.end(), some.begin(), some.end());
  }
  const auto memory = device_bytes(kAllValues * sizeof(uint16_t));
  const auto sums = device_bytes(kAllSums * sizeof(float));
  if (!memory || !sums) {
    cudaGetLastError();
    return cudaSuccess;
  }
  bool same = false;
  cudaError_t error = cudaMemcpy(memory.get(), values.data(), kAllValues * sizeof(uint16_t),
                                 cudaMemcpyHostToDevice);
  if (error == cudaSuccess)
    error =
        compare(static_cast<const uint16_t*>(memory.get()), static_cast<float*>(sums.get()), &same);
  if (error == cudaSuccess) *found = same ? Warpgroups::kSameBits : Warpgroups::kOtherBits;
  return error;
}

cudaError_t find_warpgroups(Warpgroups* found) {
  static std::atomic<Warpgroups> known{Warpgroups::kUnknown};
  *found = known;
  if (*found != Warpgroups::kUnknown) return cudaSuccess;
  const cudaError_t error = compare_warpgroups(found);
  known = *found;
  return error;
}

Warpgroups warpgroups() {
  Warpgroups found;
  if (find_warpgroups(&found) != cudaSuccess) cudaGetLastError();
  return found;
}

}  // namespace llmkit::cuda
