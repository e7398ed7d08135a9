#include "cuda/gemm/kernel.h"

namespace llmkit::cuda {

cudaError_t gemm_stored(const GemmProblem& problem, GemmPick pick, cudaStream_t stream) {
  switch (pick) {
    case GemmPick::kLarge:
    case GemmPick::kMedium:
      return launch_gemm<Medium, true>(problem, stream);
    case GemmPick::kNarrow:
      return launch_gemm<Narrow, true>(problem, stream);
    case GemmPick::kThin:
      return launch_gemm<Thin, true>(problem, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace llmkit::cuda
