#include "cuda/gemm/kernel.h"

namespace llmkit::cuda {

cudaError_t gemm_dense(const GemmProblem& problem, GemmPick pick, cudaStream_t stream) {
  switch (pick) {
    case GemmPick::kLarge:
      return launch_gemm<Large, false>(problem, stream);
    case GemmPick::kMedium:
      return launch_gemm<Medium, false>(problem, stream);
    case GemmPick::kNarrow:
      return launch_gemm<Narrow, false>(problem, stream);
    case GemmPick::kThin:
      return launch_gemm<Thin, false>(problem, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace llmkit::cuda
