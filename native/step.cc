#include "step.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>
#include <string_view>
#include <unordered_map>

#include "shared_constants.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bitlite {
namespace {

struct TypeEntry {
  const char* name;
  size_t size;
};

// In the order of DType.
constexpr TypeEntry kTypes[] = {{"float32", 4}, {"float16", 2}, {"float64", 8}, {"int8", 1},
                                {"uint8", 1},   {"int16", 2},   {"uint16", 2},  {"int32", 4},
                                {"uint32", 4},  {"int64", 8},   {"uint64", 8},  {"bool", 1}};

// Far below overflow in any later product with an element size or a kernel's padding.
constexpr int64_t kMaxCount = int64_t{1} << 40;

// Whether an entry of ops.def is for the step.
using Takes = bool (*)(const StepSpec&, const PlanContext&);

struct OpEntry {
  const char* op;
  Takes takes;
  Factory factory;
};

bool Reads(const PlanContext& plan, DType dtype) {
  return plan.Has(0) && plan.In(0).dtype == dtype;
}
bool Any(const StepSpec&, const PlanContext&) { return true; }
bool Float32(const StepSpec&, const PlanContext& plan) { return Reads(plan, DType::kF32); }
bool Int8(const StepSpec&, const PlanContext& plan) { return Reads(plan, DType::kI8); }
bool Int16(const StepSpec&, const PlanContext& plan) { return Reads(plan, DType::kI16); }
// Float32 that is quantized while running.
bool Dynamic(const StepSpec& spec, const PlanContext& plan) {
  return Reads(plan, DType::kF32) && spec.Bool("dynamic", false);
}
// One group per channel of int8, and nothing added.
bool DepthwiseInt8(const StepSpec& spec, const PlanContext& plan) {
  const int64_t group = spec.Int("group", 1);
  return Reads(plan, DType::kI8) && !plan.Has(3) && group > 1 && plan.In(0).rank() > 0 &&
         group == plan.In(0).shape.back();
}
// The same on int16, without a multiplier.
bool DepthwiseInt16(const StepSpec& spec, const PlanContext& plan) {
  const int64_t group = spec.Int("group", 1);
  return Reads(plan, DType::kI16) && plan.Out(0).dtype == DType::kI16 && group > 1 &&
         plan.In(0).rank() > 0 && plan.Out(0).rank() > 0 && group == plan.In(0).shape.back() &&
         group == plan.Out(0).shape.back();
}
// Inputs of other scales than the output's, or clamped: codes that change.
bool RescaledInt8(const StepSpec& spec, const PlanContext& plan) {
  if (!Reads(plan, DType::kI8)) return false;
  bool same = spec.Str("act", "none") == "none";
  for (int i = 0; i < plan.inputs(); ++i) same &= SameQuant(plan.In(i), plan.Out(0));
  return !same;
}

}  // namespace

#define BITLITE_OP(op, takes, factory) std::unique_ptr<Step> factory(const StepSpec&, PlanContext&);
#include "ops.def"
#undef BITLITE_OP

namespace {

const std::vector<OpEntry>& OpEntries() {
  static const std::vector<OpEntry> entries = {
#define BITLITE_OP(op, takes, factory) {op, takes, factory},
#include "ops.def"
#undef BITLITE_OP
  };
  return entries;
}

float HalfToFloat(uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const int mantissa = h & 1023;
  const float sign = (h & 0x8000) ? -1.0f : 1.0f;
  if (exponent == 31) {
    return mantissa ? std::numeric_limits<float>::quiet_NaN()
                    : sign * std::numeric_limits<float>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

// real = (q - zero_point) * scale, with one scale or one per index of the axis.
template <typename T>
void Dequantize(const TensorSpec& t, float* y) {
  const T* q = static_cast<const T*>(t.data);
  int64_t inner = t.count, extent = 1;
  if (t.scale.size() > 1) {
    extent = t.shape[t.axis];
    inner = 1;
    for (int d = t.axis + 1; d < t.rank(); ++d) inner *= t.shape[d];
  }
  for (int64_t i = 0; i < t.count; i += inner) {
    const size_t channel = inner == 0 ? 0 : static_cast<size_t>((i / inner) % extent);
    const float scale = static_cast<float>(t.scale[channel]);
    const int64_t zero =
        t.zero_point.empty() ? 0 : t.zero_point[t.zero_point.size() > 1 ? channel : 0];
    for (int64_t k = i; k < i + inner; ++k) {
      y[k] = static_cast<float>(static_cast<int64_t>(q[k]) - zero) * scale;
    }
  }
}

}  // namespace

size_t SizeOf(DType dtype) { return kTypes[static_cast<int>(dtype)].size; }
const char* NameOf(DType dtype) { return kTypes[static_cast<int>(dtype)].name; }

DType DTypeFromName(const std::string& name) {
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    if (name == kTypes[i].name) return static_cast<DType>(i);
  }
  Refuse("type " + name + " is not supported natively");
}

int64_t CountOf(const Shape& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) {
    if (extent < 0) Refuse("negative extent in shape " + ToString(shape));
    if (extent > kMaxCount || (extent != 0 && count > kMaxCount / extent)) {
      Refuse("shape " + ToString(shape) + " is too large");
    }
    count *= extent;
  }
  return count;
}

std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

bool SameQuant(const TensorSpec& a, const TensorSpec& b) {
  return a.dtype == b.dtype && a.scale == b.scale && a.zero_point == b.zero_point &&
         (a.scale.size() < 2 || a.axis == b.axis);
}

const Attr* StepSpec::Find(const char* key) const {
  const auto it = attrs.find(key);
  if (it == attrs.end()) return nullptr;
  read.insert(key);
  return &it->second;
}

bool StepSpec::Bool(const char* key, bool fallback) const {
  const Attr* a = Find(key);
  if (a == nullptr) return fallback;
  if (const bool* v = std::get_if<bool>(a)) return *v;
  if (const int64_t* v = std::get_if<int64_t>(a)) return *v != 0;
  Refuse(std::string("attribute ") + key + " must be a bool");
}

int64_t StepSpec::Int(const char* key, int64_t fallback) const {
  const Attr* a = Find(key);
  if (a == nullptr) return fallback;
  if (const int64_t* v = std::get_if<int64_t>(a)) return *v;
  if (const bool* v = std::get_if<bool>(a)) return *v;
  Refuse(std::string("attribute ") + key + " must be an int");
}

double StepSpec::Float(const char* key, double fallback) const {
  const Attr* a = Find(key);
  if (a == nullptr) return fallback;
  if (const double* v = std::get_if<double>(a)) return *v;
  if (const int64_t* v = std::get_if<int64_t>(a)) return static_cast<double>(*v);
  Refuse(std::string("attribute ") + key + " must be a float");
}

std::string StepSpec::Str(const char* key, const std::string& fallback) const {
  const Attr* a = Find(key);
  if (a == nullptr) return fallback;
  if (const std::string* v = std::get_if<std::string>(a)) return *v;
  Refuse(std::string("attribute ") + key + " must be a string");
}

std::vector<int64_t> StepSpec::Ints(const char* key, const std::vector<int64_t>& fallback) const {
  const Attr* a = Find(key);
  if (a == nullptr) return fallback;
  if (const auto* v = std::get_if<std::vector<int64_t>>(a)) return *v;
  if (const int64_t* v = std::get_if<int64_t>(a)) return {*v};
  if (const auto* v = std::get_if<std::vector<double>>(a)) {
    if (v->empty()) return {};
  }
  Refuse(std::string("attribute ") + key + " must be a list of ints");
}

std::vector<double> StepSpec::Floats(const char* key, const std::vector<double>& fallback) const {
  const Attr* a = Find(key);
  if (a == nullptr) return fallback;
  if (const auto* v = std::get_if<std::vector<double>>(a)) return *v;
  if (const auto* v = std::get_if<std::vector<int64_t>>(a)) return {v->begin(), v->end()};
  if (const double* v = std::get_if<double>(a)) return {*v};
  Refuse(std::string("attribute ") + key + " must be a list of floats");
}

namespace {

constexpr size_t kLine = 64;
constexpr size_t kPage = size_t{64} << 10;  // whole ones of any kernel
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kFirstSlab = size_t{256} << 10;

size_t RoundUp(size_t n, size_t to) { return (n + to - 1) / to * to; }

#if defined(__linux__)
// Pages of its own, of which the kernel makes huge ones as far as they go: memory that the heap had
// in use before stays in small ones.
std::shared_ptr<void> MapBlock(size_t bytes) {
  bytes = RoundUp(bytes, kPage);
  const size_t mapped = bytes + kHugePage;
  void* p = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  char* begin = static_cast<char*>(p);
  const size_t before = -reinterpret_cast<uintptr_t>(p) % kHugePage;
  if (before > 0) munmap(begin, before);
  begin += before;
  munmap(begin + bytes, mapped - before - bytes);
  madvise(begin, bytes, MADV_HUGEPAGE);
  return {begin, [bytes](void* block) { munmap(block, bytes); }};
}
#endif

std::shared_ptr<void> AllocateBlock(size_t bytes) {
#if defined(__linux__)
  if (bytes >= kHugePage / 2) return MapBlock(bytes);
#endif
  void* p = std::aligned_alloc(kLine, RoundUp(std::max(bytes, kLine), kLine));
  if (p == nullptr) throw std::bad_alloc();
  return {p, std::free};
}

struct Slab {
  std::shared_ptr<void> memory;
  size_t size = 0, used = 0;
  int scopes = 0;
};
thread_local Slab slab;

// A large array that is not changed any more.
struct Constant {
  std::string_view bytes;
  std::any array;
};
thread_local std::unordered_multimap<size_t, Constant> constants;  // by hash, of the scope
constexpr size_t kLeastShared = 4096;  // bytes that are worth looking for

}  // namespace

std::shared_ptr<void> AllocateAligned(size_t bytes) {
  bytes = RoundUp(std::max(bytes, kLine), kLine);
  if (slab.scopes == 0 || bytes >= kHugePage / 2) return AllocateBlock(bytes);
  if (slab.size - slab.used < bytes) {
    // The first one is modest: most small programs need no more.
    const size_t size = slab.size == 0 && bytes <= kFirstSlab ? kFirstSlab : kHugePage;
    slab.memory = AllocateBlock(size);
    slab.size = size;
    slab.used = 0;
  }
  std::shared_ptr<void> part(slab.memory, static_cast<char*>(slab.memory.get()) + slab.used);
  slab.used += bytes;
  return part;
}

SlabScope::SlabScope() { ++slab.scopes; }
SlabScope::~SlabScope() {
  if (--slab.scopes == 0) {
    slab.memory.reset();
    slab.size = slab.used = 0;
    constants.clear();
  }
}

std::any FirstOfEqual(const void* data, size_t bytes, std::any own) {
  if (slab.scopes == 0 || bytes < kLeastShared) return own;
  const std::string_view view(static_cast<const char*>(data), bytes);
  const size_t hash = std::hash<std::string_view>{}(view);
  const auto [first, last] = constants.equal_range(hash);
  const auto found = std::find_if(first, last, [&](const auto& entry) {
    return entry.second.bytes == view && entry.second.array.type() == own.type();
  });
  if (found != last) return found->second.array;
  return constants.insert({hash, {view, std::move(own)}})->second.array;
}

const TensorSpec& PlanContext::In(int i) const {
  if (!Has(i)) Refuse("input " + std::to_string(i) + " is missing");
  return *tensors_[spec_.inputs[i]];
}

const TensorSpec& PlanContext::Out(int i) const {
  if (i >= outputs()) Refuse("output " + std::to_string(i) + " is missing");
  return *tensors_[spec_.outputs[i]];
}

std::vector<float> RealValues(const TensorSpec& t) {
  if (!t.constant || (t.data == nullptr && t.count != 0)) Refuse(t.name + " is not a constant");
  std::vector<float> y(static_cast<size_t>(t.count));
  if (t.quantized()) {
    switch (t.dtype) {
      case DType::kI8:
        Dequantize<int8_t>(t, y.data());
        return y;
      case DType::kU8:
        Dequantize<uint8_t>(t, y.data());
        return y;
      case DType::kI16:
        Dequantize<int16_t>(t, y.data());
        return y;
      case DType::kI32:
        Dequantize<int32_t>(t, y.data());
        return y;
      default:
        break;
    }
  }
  switch (t.dtype) {
    case DType::kF32:
      std::copy_n(static_cast<const float*>(t.data), t.count, y.data());
      return y;
    case DType::kF64:
      std::copy_n(static_cast<const double*>(t.data), t.count, y.data());
      return y;
    case DType::kF16: {
      const uint16_t* h = static_cast<const uint16_t*>(t.data);
      for (int64_t i = 0; i < t.count; ++i) y[i] = HalfToFloat(h[i]);
      return y;
    }
    default:
      Refuse(t.name + ": an integer constant without scales has no real values");
  }
}

namespace {

template <typename T>
std::vector<int64_t> Widen(const TensorSpec& t) {
  std::vector<int64_t> values(static_cast<size_t>(t.count));
  for (int64_t i = 0; i < t.count; ++i) {
    T value;  // the address need not be aligned
    std::memcpy(&value, static_cast<const char*>(t.data) + i * sizeof(T), sizeof(T));
    values[i] = static_cast<int64_t>(value);
  }
  return values;
}

}  // namespace

std::vector<int64_t> IntValues(const TensorSpec& t) {
  if (!t.constant) Refuse(t.name + " is not a constant");
  if (t.count > kSmallConstant) Refuse(t.name + " has too many elements");
  switch (t.dtype) {
    case DType::kI32:
      return Widen<int32_t>(t);
    case DType::kI64:
      return Widen<int64_t>(t);
    case DType::kI16:
      return Widen<int16_t>(t);
    case DType::kI8:
      return Widen<int8_t>(t);
    case DType::kU8:
      return Widen<uint8_t>(t);
    default:
      Refuse(t.name + " is not of an integer type");
  }
}

std::unique_ptr<Step> MakeStep(const StepSpec& spec, PlanContext& plan) {
  bool known = false;
  for (const OpEntry& entry : OpEntries()) {
    if (spec.op != entry.op) continue;
    known = true;
    if (!entry.takes(spec, plan)) continue;
    // What the predicates looked at, the factory has to look at, too.
    spec.read.clear();
    plan.seen.clear();
    std::unique_ptr<Step> step = entry.factory(spec, plan);
    for (const auto& attr : spec.attrs) {
      if (spec.read.count(attr.first) == 0) Refuse("attribute " + attr.first + " is not known");
    }
    for (int i = 0; i < plan.inputs(); ++i) {
      if (spec.inputs[i] >= 0 && plan.seen.count(i) == 0) {
        Refuse("input " + std::to_string(i) + " is not known");
      }
    }
    return step;
  }
  if (!known) Refuse("no native kernel");
  Refuse(std::string("no native kernel for ") +
         (plan.Has(0) ? NameOf(plan.In(0).dtype) : "no input"));
}

std::vector<std::string> OpNames() {
  std::set<std::string> names;
  for (const OpEntry& entry : OpEntries()) names.insert(entry.op);
  return {names.begin(), names.end()};
}

}  // namespace bitlite
