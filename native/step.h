// What an operator's kernel file needs to become part of a program: the description of a step, the
// plan-time context, and the Step that the runtime calls. A new operator is one row in ops.def and
// one file in kernels/<family>/.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "cpu.h"

namespace bitlite {

enum class DType : uint8_t {
  kF32,
  kF16,
  kF64,
  kI8,
  kU8,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64,
  kBool
};

size_t SizeOf(DType dtype);
const char* NameOf(DType dtype);
// Throws std::invalid_argument for a name that is not numpy's name of one of the types above.
DType DTypeFromName(const std::string& name);

using Shape = std::vector<int64_t>;

// Number of elements; throws std::invalid_argument for a negative extent or on overflow.
int64_t CountOf(const Shape& shape);
std::string ToString(const Shape& shape);

// A refusal: the step cannot be taken natively, and why. The runtime adds the step's name.
[[noreturn]] inline void Refuse(const std::string& reason) { throw std::invalid_argument(reason); }
inline void Require(bool condition, const char* reason) {
  if (!condition) Refuse(reason);
}

struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  int64_t count = 0;  // product of shape
  bool constant = false;
  const void* data = nullptr;   // constants only; null in check_only mode
                                // when larger than kSmallConstant; not necessarily aligned
  std::shared_ptr<void> owner;  // keeps data alive
  // Quantization, as in the IR: real = (q - zero_point) * scale. Empty: none. Length 1, or
  // shape[axis].
  std::vector<double> scale;
  std::vector<int64_t> zero_point;
  int axis = -1;  // -1: per tensor

  int rank() const { return static_cast<int>(shape.size()); }
  size_t bytes() const { return static_cast<size_t>(count) * SizeOf(dtype); }
  bool quantized() const { return !scale.empty(); }
};

bool SameQuant(const TensorSpec& a, const TensorSpec& b);

using Attr =
    std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;

// A step as it comes from Python. The getters note which attributes were read: a factory that
// returns without having read one that is present is refused, so no attribute is ever silently
// ignored.
struct StepSpec {
  std::string op;
  std::string name;
  std::vector<int> inputs;  // tensor indices, -1 where an optional input is absent
  std::vector<int> outputs;
  std::map<std::string, Attr> attrs;

  bool Has(const char* key) const { return attrs.count(key) != 0; }  // does not mark it as read
  bool Bool(const char* key, bool fallback) const;
  int64_t Int(const char* key, int64_t fallback) const;
  double Float(const char* key, double fallback) const;
  std::string Str(const char* key, const std::string& fallback) const;
  std::vector<int64_t> Ints(const char* key, const std::vector<int64_t>& fallback) const;
  std::vector<double> Floats(const char* key, const std::vector<double>& fallback) const;
  void Ignore(const char* key) const { read.insert(key); }  // carries nothing that execution needs

  mutable std::set<std::string> read;

 private:
  const Attr* Find(const char* key) const;
};

// 64-byte aligned memory, not initialized; large blocks ask for huge pages. Throws std::bad_alloc.
std::shared_ptr<void> AllocateAligned(size_t bytes);

// While one is alive on a thread, that thread's small allocations share slabs: the packed constants
// of a program lie close together, in few pages.
class SlabScope {
 public:
  SlabScope();
  ~SlabScope();
  SlabScope(const SlabScope&) = delete;
  SlabScope& operator=(const SlabScope&) = delete;
};

// An array of such memory; for packed constants.
template <typename T>
class Aligned {
 public:
  Aligned() = default;
  explicit Aligned(size_t n) { Reset(n); }
  void Reset(size_t n) {
    memory_ = AllocateAligned(n * sizeof(T));
    size_ = n;
  }
  T* data() { return static_cast<T*>(memory_.get()); }
  const T* data() const { return static_cast<const T*>(memory_.get()); }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }

 private:
  std::shared_ptr<void> memory_;
  size_t size_ = 0;
};

// What a factory sees of the program while the plan is built.
class PlanContext {
 public:
  PlanContext(const StepSpec& spec, const std::vector<const TensorSpec*>& tensors, IsaMask isa,
              int threads, bool check_only)
      : isa(isa), threads(threads), check_only(check_only), spec_(spec), tensors_(tensors) {}

  const IsaMask isa;
  const int threads;
  // Only asked whether the step would be taken: after validation return nullptr, before touching
  // constant data (which is then absent) and before packing.
  const bool check_only;

  int inputs() const { return static_cast<int>(spec_.inputs.size()); }
  int outputs() const { return static_cast<int>(spec_.outputs.size()); }
  // Whether the input is there. Asking, like In, marks it as understood: a factory that returns
  // without having looked at an input that is there is refused.
  bool Has(int i) const {
    seen.insert(i);
    return i < inputs() && spec_.inputs[i] >= 0;
  }
  void IgnoreInput(int i) const {
    seen.insert(i);
  }  // its work is done in the output's static shape
  // Both throw when there is no such tensor.
  const TensorSpec& In(int i) const;
  const TensorSpec& Out(int i) const;
  const TensorSpec* OptionalIn(int i) const { return Has(i) ? &In(i) : nullptr; }

  // Constant inputs are gone after planning unless a step says that it reads them while running.
  void KeepConstant(int i) { kept.insert(spec_.inputs[i]); }
  std::set<int> kept;
  mutable std::set<int> seen;

 private:
  const StepSpec& spec_;
  const std::vector<const TensorSpec*>& tensors_;
};

// The real values of a float or quantized integer constant, in its own order. Not in check_only
// mode.
std::vector<float> RealValues(const TensorSpec& constant);

// Every step sees at least this many inputs, so that trailing optional ones need no count.
constexpr int kMinInputs = 8;

// The elements of an integer constant of at most kSmallConstant elements; present in check_only
// mode too.
constexpr int64_t kSmallConstant = 256;
std::vector<int64_t> IntValues(const TensorSpec& constant);

struct StepArgs {
  const void* const* in;  // by input position; null where absent, or a constant that was not kept
  void* const* out;
  uint8_t* scratch;  // Step::scratch bytes shared by the threads of this step, 64-byte aligned
  uint8_t* thread_scratch;  // Step::thread_scratch bytes of this thread alone, 64-byte aligned
  // Set by a step that finds values it has no answer for; the run goes on and is reported as
  // failed.
  std::atomic<const char*>* fault = nullptr;

  template <typename T>
  const T* In(int i) const {
    return static_cast<const T*>(in[i]);
  }
  template <typename T>
  T* Out(int i) const {
    return static_cast<T*>(out[i]);
  }
};

// A step that costs less stays on one thread: handing over a job and seeing it done take some
// 700 ns, and a second thread saves half of the step.
constexpr double kMinParallelNs = 1500;

// A planned operator: immutable after construction, run by several threads and several calls at
// once.
class Step {
 public:
  virtual ~Step() = default;

  // Does work items [begin, end) of a phase. No allocation, no locks, no exceptions. Which thread
  // gets which items must not change any result bit.
  virtual void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept = 0;

  // All set by the factory:
  std::vector<int64_t> phases = {
      1};              // equal work items of each phase; a barrier stands between phases
  int64_t grain = 1;   // fewest items of a part, where each part has work of its own to do first
  double cost_ns = 0;  // estimate for one thread; small steps are not worth a second thread
  size_t scratch = 0;  // bytes, once per call
  size_t thread_scratch = 0;  // bytes, per thread
  int view_of = -1;  // output 0 has the bytes of this input: shared when legal, else Run must copy
  uint32_t in_place =
      0;  // bit i: output 0 may lie on input i (element k is read before k is written)
};

using Factory = std::unique_ptr<Step> (*)(const StepSpec&, PlanContext&);

// A refused step has a reason; otherwise the step (null in check_only mode).
std::unique_ptr<Step> MakeStep(const StepSpec& spec, PlanContext& plan);

// Names of all rows of ops.def, sorted.
std::vector<std::string> OpNames();

}  // namespace bitlite
