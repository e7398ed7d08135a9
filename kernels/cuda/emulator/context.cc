#include "cuda/emulator/context.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

namespace llmkit::cuda::emulator {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 512 << 10;
#else
constexpr size_t kStack = 128 << 10;
#endif
constexpr size_t kGuard = 16 << 10;

/// A stack and, below it, pages that may not be touched. Only what is used takes up memory.
void* map_stack() {
  void* const memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) {
    std::fputs("emulator: no memory for the stack of a thread\n", stderr);
    std::abort();
  }
  return static_cast<char*>(memory) + kGuard;
}

/// The top of a new stack. Neighbours start in different cache lines of a page, or a warp's frames
/// would fight for the same few sets of the cache.
char* top_of(void* stack) {
  static size_t turn = 0;
  return static_cast<char*>(stack) + kStack - 64 * (turn++ * 13 % 64);
}

#if defined(__x86_64__)
constexpr int kSavedWords = 6;
asm(R"(
.text
.type llmkit_switch_context, @function
llmkit_switch_context:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx  # not ret: the processor would expect to go back to where this was called from
  jmp *%rcx
.size llmkit_switch_context, . - llmkit_switch_context
)");
#elif defined(__aarch64__)
constexpr int kSavedWords = 20;
asm(R"(
.text
.type llmkit_switch_context, %function
llmkit_switch_context:
  sub sp, sp, #160
  stp x29, x30, [sp, #0]
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x29, x30, [sp, #0]
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  br x30
.size llmkit_switch_context, . - llmkit_switch_context
)");
#endif

#if defined(__x86_64__) || defined(__aarch64__)
/// Saves the registers that a call keeps on the stack, and its top in *position; goes to `to`.
extern "C" void switch_registers(void** position, void* to) asm("llmkit_switch_context");

/// The stack as if `entry` had been about to be called when it was left.
void* prepare(void* stack, void (*entry)()) {
  void** frame = reinterpret_cast<void**>(top_of(stack));
  *--frame = nullptr;  // on x86 the return address of entry: where rsp is 8 off a multiple of 16
#if defined(__x86_64__)
  *--frame = reinterpret_cast<void*>(entry);
#endif
#if defined(__aarch64__)
  --frame;
#endif
  for (int i = 0; i < kSavedWords; ++i) *--frame = nullptr;
#if defined(__aarch64__)
  frame[1] = reinterpret_cast<void*>(entry);
#endif
  return frame;
}
#else
void switch_registers(void** position, void* to) {
  swapcontext(static_cast<ucontext_t*>(*position), static_cast<ucontext_t*>(to));
}

void* prepare(void* stack, void (*entry)()) {
  ucontext_t* const context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = kStack;
  makecontext(context, entry, 0);
  return context;
}
#endif

#if defined(__SANITIZE_ADDRESS__)
/// Which context was switched from, and to: what a new stack begins with.
Context* left = nullptr;
Context* entered = nullptr;
#endif

}  // namespace

Context::~Context() {
  if (stack_ != nullptr) munmap(static_cast<char*>(stack_) - kGuard, kGuard + kStack);
}

#if defined(__SANITIZE_ADDRESS__)

Context::Context(void (*entry)())
    : stack_(map_stack()), entry_(entry), bottom_(stack_), size_(kStack) {
  position_ = prepare(stack_, &Context::begin);
}

void Context::begin() {
  __sanitizer_finish_switch_fiber(nullptr, &left->bottom_, &left->size_);
  entered->entry_();
  std::abort();
}

void Context::switch_to(Context& to) {
  left = this;
  entered = &to;
  __sanitizer_start_switch_fiber(&fake_stack_, to.bottom_, to.size_);
  switch_registers(&position_, to.position_);
  __sanitizer_finish_switch_fiber(fake_stack_, &left->bottom_, &left->size_);
}

#else

Context::Context(void (*entry)()) : stack_(map_stack()), position_(prepare(stack_, entry)) {}

void Context::switch_to(Context& to) {
#if !defined(__x86_64__) && !defined(__aarch64__)
  if (position_ == nullptr) position_ = new ucontext_t;
#endif
  switch_registers(&position_, to.position_);
}

#endif

}  // namespace llmkit::cuda::emulator
