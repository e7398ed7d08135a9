#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "binding/arguments.h"
#include "cpu/sha256/sha256.h"

namespace llmkit::binding {
namespace {

std::string hex_of(const Sha256& hash) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : hash) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

/// Hashes ranges of files on threads of its own.
class HashWorker final : public Napi::AsyncWorker {
 public:
  HashWorker(Napi::Env env, std::shared_ptr<RangeHashes> hashes, size_t threads)
      : Napi::AsyncWorker(env),
        hashes_(std::move(hashes)),
        threads_(threads),
        deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    std::vector<std::thread> others;
    others.reserve(threads_);
    try {
      for (size_t i = 1; i < threads_; ++i) others.emplace_back([this] { hashes_->work(); });
    } catch (const std::system_error&) {
      // The system has no more threads: fewer do the same.
    }
    hashes_->work();
    for (std::thread& other : others) other.join();
    const std::string problem = hashes_->problem();
    if (!problem.empty()) SetError(problem);
  }

  void OnOK() override {
    const std::vector<Sha256>& hashes = hashes_->hashes();
    Napi::Array texts = Napi::Array::New(Env(), hashes.size());
    for (size_t i = 0; i < hashes.size(); ++i) texts[static_cast<uint32_t>(i)] = hex_of(hashes[i]);
    deferred_.Resolve(texts);
  }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  std::shared_ptr<RangeHashes> hashes_;
  size_t threads_;
  Napi::Promise::Deferred deferred_;
};

/// The numbers of an array, three for a range: descriptor, offset, size.
std::vector<MessageRange> ranges_of(const Arguments& args) {
  if (!args.value(0).IsArray()) args.expected(0, "an array of numbers");
  const Napi::Array numbers = args.value(0).As<Napi::Array>();
  std::vector<MessageRange> ranges(args.quotient(numbers.Length(), 3, "ranges"));
  for (size_t i = 0; i < ranges.size(); ++i) {
    const auto number = [&](size_t place) {
      const Napi::Value value = numbers[static_cast<uint32_t>(3 * i + place)];
      return value.ToNumber().Int64Value();
    };
    ranges[i] = {static_cast<int>(number(0)), static_cast<uint64_t>(number(1)),
                 static_cast<uint64_t>(number(2))};
  }
  return ranges;
}

/// hashRanges(ranges, threads) -> {hashes, stop}, or null
Napi::Value hash_ranges(const Napi::CallbackInfo& info) {
  const Arguments args(info, "hashRanges");
  if (!hashes_in_lanes()) return info.Env().Null();
  auto hashes = std::make_shared<RangeHashes>(ranges_of(args));
  auto worker = std::make_unique<HashWorker>(info.Env(), hashes, args.positive(1, "threads"));
  Napi::Object started = Napi::Object::New(info.Env());
  started.Set("hashes", worker->promise());
  started.Set("stop", Napi::Function::New(info.Env(),
                                          [hashes](const Napi::CallbackInfo&) { hashes->stop(); }));
  worker.release()->Queue();  // it deletes itself
  return started;
}

}  // namespace

void add_hashing(Napi::Object exports) { add_function<hash_ranges>(exports, "hashRanges"); }

}  // namespace llmkit::binding
