// Steps come in chunks: the products with x of a chunk are one matrix product, and those with the
// state follow step by step. A direction runs on one thread, while others make the products of the
// chunk after; where one step is work enough for several, its units are shared among them.
#include "recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "dynamic_s8.h"
#include "kernels.h"
#include "rnn_matrix.h"

namespace bitlite {
namespace {

constexpr int64_t kMaxPhases = 4096;

struct Constants {
  RnnMatrix input, state, candidate;  // candidate: of the second stage
  Aligned<float> bias, peephole;      // bias: that added after both products
};

class Recurrent final : public Step {
 public:
  Recurrent(const RnnLayer& layer, PlanContext& plan);
  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;

 private:
  enum class Kind { kFindRange, kQuantize, kDirections, kChunk, kUnits, kCandidates };
  struct Phase {
    Kind kind;
    int64_t index;  // chunk or step
  };
  // What belongs to a direction in Step::scratch, in floats.
  struct Memory {
    float *input[2], *product, *reset, *z, *state[2], *cell;
  };

  void PackDirection(int64_t d, PlanContext& plan);
  void Schedule(int threads);
  Memory MemoryOf(const StepArgs& args, int64_t d) const noexcept;
  int64_t Length(const StepArgs& args, int64_t n) const noexcept;
  int64_t Position(int64_t d, int64_t k, int64_t length) const noexcept;
  void Start(const StepArgs& args, int64_t d) const noexcept;
  void Project(const StepArgs& args, int64_t d, int64_t chunk, int64_t group,
               int64_t groups) const noexcept;
  void Recur(const StepArgs& args, int64_t d, int64_t chunk) const noexcept;
  void Units(const StepArgs& args, int64_t d, int64_t k, int64_t part) const noexcept;
  void Candidates(const StepArgs& args, int64_t d, int64_t k, int64_t part) const noexcept;
  void Multiply(const StepArgs& args, const RnnMatrix& w, const float* x, int64_t part,
                float* y) const noexcept;
  void Gates(const StepArgs& args, RnnStage stage, int64_t d, int64_t k,
             int64_t part) const noexcept;
  void Finish(const StepArgs& args, int64_t d, int64_t k, int64_t part) const noexcept;
  const float* Given(const StepArgs& args, int input) const noexcept {
    const Aligned<float>& constant = start_[input - 5];
    return constant.size() > 0 ? constant.data() : args.In<float>(input);
  }

  const RnnLayer l_;
  rnn_f32::Fn* const gates_;
  const int64_t blocks_, width_;  // of the units; width_: units with padding
  const int tile_rows_;
  bool wide_lengths_ = false;
  Aligned<float> start_[2];  // h0 and c0 where they are constant
  std::vector<Constants> constants_;
  RnnCodes input_codes_, state_codes_;
  DynamicInput input_;
  std::vector<Phase> schedule_;
  int64_t chunk_ = 1, chunks_ = 1, buffers_ = 1, parts_ = 1;
  int64_t first_groups_ = 1, groups_ = 1;  // of a chunk's rows: of the first and of the others
  size_t memory_ = 0, memory_at_ = 0;      // bytes of a direction's Memory, and where they begin
};

Recurrent::Recurrent(const RnnLayer& layer, PlanContext& plan)
    : l_(layer),
      gates_(BITLITE_SELECT(rnn_f32, plan.isa).fn),
      blocks_(CeilDiv(layer.hidden, kRnnBlock)),
      width_(blocks_ * kRnnBlock),
      tile_rows_(BITLITE_SELECT(gemm_f32, plan.isa).row->a) {
  wide_lengths_ = plan.Has(4) && plan.In(4).dtype == DType::kI64;
  for (int i : {5, 6}) {
    if (!plan.Has(i) || !plan.In(i).constant) continue;
    const std::vector<float> values = RealValues(plan.In(i));
    start_[i - 5].Reset(values.size());
    std::copy(values.begin(), values.end(), start_[i - 5].data());
  }
  Schedule(plan.threads);
  for (int64_t d = 0; d < l_.directions; ++d) PackDirection(d, plan);
  if (l_.dynamic) {
    const GemmS8Kernel& kernel = SelectGemmS8(plan.isa);
    const VectorS8Kernel& vector = SelectVectorS8(plan.isa);
    input_codes_ = RnnCodes(kernel, vector, l_.size, chunk_ * l_.batch);
    state_codes_ = RnnCodes(kernel, vector, l_.hidden, l_.batch);
    input_ = DynamicInput(plan.In(0).count, plan.threads, vector);
    phases.insert(phases.begin(), {input_.parts(), input_.parts()});
    schedule_.insert(schedule_.begin(), {{Kind::kFindRange, 0}, {Kind::kQuantize, 0}});
    memory_at_ = static_cast<size_t>(CeilDiv(input_.scratch(), 64) * 64);
    thread_scratch = std::max(input_codes_.bytes(), state_codes_.bytes());
  } else {
    // Where the rows of a product start.
    thread_scratch = static_cast<size_t>(chunk_ * l_.batch) * sizeof(void*);
  }
  const int64_t floats =
      l_.batch * (buffers_ * chunk_ * l_.gates() * width_ + l_.gates() * width_ + 5 * width_);
  memory_ = static_cast<size_t>(floats) * sizeof(float);
  scratch = memory_at_ + memory_ * static_cast<size_t>(l_.directions);
}

void Recurrent::PackDirection(int64_t d, PlanContext& plan) {
  const int many = l_.gates();
  const int64_t rows = many * l_.hidden;
  const RnnGates all{l_.hidden, 0, many};
  std::vector<float> first(static_cast<size_t>(rows)), second(static_cast<size_t>(rows));
  if (plan.Has(3)) {
    const std::vector<float> bias = RealValues(plan.In(3));
    const float* at = bias.data() + d * 2 * rows;
    std::copy_n(at, rows, first.begin());
    std::copy_n(at + rows, rows, second.begin());
  }
  const bool gru = l_.cell == RnnCell::kGru || l_.cell == RnnCell::kGruLinear;
  if (!gru) {
    for (int64_t i = 0; i < rows; ++i) second[i] = first[i] + second[i];
  }
  Constants c;
  c.input = RnnMatrix(plan, plan.In(1), d, all, InColumns(gru ? first.data() : nullptr, all),
                      l_.dynamic, 1);
  const RnnGates now{l_.hidden, 0, l_.two_stages() ? 2 : many};
  c.state = RnnMatrix(plan, plan.In(2), d, now, {}, l_.dynamic, parts_);
  if (l_.two_stages()) {
    c.candidate = RnnMatrix(plan, plan.In(2), d, {l_.hidden, 2, 1}, {}, l_.dynamic, parts_);
  }
  c.bias = InColumns(second.data(), all);
  if (plan.Has(7)) {
    const std::vector<float> values = RealValues(plan.In(7));
    c.peephole = InColumns(values.data() + d * 3 * l_.hidden, {l_.hidden, 0, 3});
  }
  constants_.push_back(std::move(c));
}

// What a step costs decides who does what.
void Recurrent::Schedule(int threads) {
  const double rows = static_cast<double>(l_.batch);
  const double weights = static_cast<double>(l_.gates()) * static_cast<double>(l_.hidden);
  const double per_byte = 1.0 / 50, per_mac = l_.dynamic ? 1.0 / 350 : 1.0 / 50;
  const double bytes = l_.dynamic ? 1 : 4;
  const auto product = [&](int64_t k, double m) {
    return weights * static_cast<double>(k) * std::max(bytes * per_byte, m * per_mac);
  };
  const double step_ns = product(l_.hidden, rows) + rows * weights * 0.4 + 100;
  const double input_ns = rows * weights * static_cast<double>(l_.size) * per_mac;
  const double directions = static_cast<double>(l_.directions);
  cost_ns = directions * static_cast<double>(l_.steps) * (step_ns + input_ns);

  // A barrier in every step costs about as much as it takes to share 2 microseconds of work.
  constexpr double kMinSharedNs = 4000;
  const int64_t many = std::max<int64_t>(1, threads / l_.directions);
  const bool enough =
      many > 1 && step_ns > kMinSharedNs && l_.steps * (l_.two_stages() ? 2 : 1) <= kMaxPhases;
  if (enough) parts_ = std::min(many, blocks_);

  const int64_t tiles = threads > 1 ? 2 : 4;
  chunk_ = std::min(l_.steps, CeilDiv(tiles * tile_rows_, l_.batch));
  chunk_ = std::max(chunk_, CeilDiv(l_.steps, kMaxPhases));
  chunks_ = CeilDiv(l_.steps, chunk_);
  phases.clear();
  if (threads <= l_.directions) {
    phases = {l_.directions};
    schedule_ = {{Kind::kDirections, 0}};
    return;
  }
  const int64_t chunk_rows = chunk_ * l_.batch;
  first_groups_ = std::clamp<int64_t>(CeilDiv(threads, l_.directions), 1, chunk_rows);
  const bool recurs_longer = input_ns * directions <= step_ns * (threads - l_.directions);
  groups_ = recurs_longer && parts_ == 1 ? CeilDiv(threads - l_.directions, l_.directions)
                                         : CeilDiv(4 * threads, l_.directions);
  groups_ = std::clamp<int64_t>(groups_, 1, CeilDiv(chunk_rows, 4));
  for (int64_t c = 0; c < chunks_; ++c) {
    // The products of a chunk are made while the chunk before it recurs.
    const bool recurs = c > 0 && parts_ == 1;
    schedule_.push_back({Kind::kChunk, c});
    phases.push_back(l_.directions * ((c == 0 ? first_groups_ : groups_) + (recurs ? 1 : 0)));
    if (parts_ == 1) continue;
    for (int64_t k = c * chunk_; k < std::min(l_.steps, (c + 1) * chunk_); ++k) {
      schedule_.push_back({Kind::kUnits, k});
      phases.push_back(l_.directions * parts_);
      if (!l_.two_stages()) continue;
      schedule_.push_back({Kind::kCandidates, k});
      phases.push_back(l_.directions * parts_);
    }
  }
  if (parts_ > 1) return;
  buffers_ = 2;
  schedule_.push_back({Kind::kChunk, chunks_});
  phases.push_back(l_.directions);
}

void Recurrent::Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept {
  const Phase now = schedule_[phase];
  if (now.kind == Kind::kFindRange) {
    return input_.FindRange(args.In<float>(0), args.scratch, begin, end);
  }
  if (now.kind == Kind::kQuantize) {
    return input_.Quantize(args.In<float>(0), args.scratch, begin, end);
  }
  for (int64_t item = begin; item < end; ++item) {
    const int64_t d = item % l_.directions;
    int64_t part = item / l_.directions;
    switch (now.kind) {
      case Kind::kDirections:
        Start(args, d);
        for (int64_t c = 0; c < chunks_; ++c) {
          Project(args, d, c, 0, 1);
          Recur(args, d, c);
        }
        break;
      case Kind::kChunk:
        if (now.index == 0 && part == 0) Start(args, d);
        if (now.index > 0 && parts_ == 1 && part-- == 0) {
          Recur(args, d, now.index - 1);
        } else {
          Project(args, d, now.index, part, now.index == 0 ? first_groups_ : groups_);
        }
        break;
      case Kind::kUnits:
        Units(args, d, now.index, part);
        break;
      default:
        Candidates(args, d, now.index, part);
    }
  }
}

Recurrent::Memory Recurrent::MemoryOf(const StepArgs& args, int64_t d) const noexcept {
  float* at =
      reinterpret_cast<float*>(args.scratch + memory_at_ + static_cast<size_t>(d) * memory_);
  const auto take = [&](int64_t per_row) {
    float* p = at;
    at += l_.batch * per_row;
    return p;
  };
  Memory m{};
  for (int64_t i = 0; i < buffers_; ++i) m.input[i] = take(chunk_ * l_.gates() * width_);
  m.product = take(l_.gates() * width_);
  m.reset = take(width_);
  m.z = take(width_);
  for (float*& p : m.state) p = take(width_);
  m.cell = l_.cell == RnnCell::kLstm ? take(width_) : nullptr;
  return m;
}

int64_t Recurrent::Length(const StepArgs& args, int64_t n) const noexcept {
  if (args.in[4] == nullptr) return l_.steps;
  const int64_t given = wide_lengths_ ? args.In<int64_t>(4)[n] : args.In<int32_t>(4)[n];
  return std::clamp<int64_t>(given, 0, l_.steps);
}

// The step of the sequence that is the k-th to come: one that is read backwards starts at its end.
int64_t Recurrent::Position(int64_t d, int64_t k, int64_t length) const noexcept {
  return (d == 1 || l_.reverse) && k < length ? length - 1 - k : k;
}

void Recurrent::Start(const StepArgs& args, int64_t d) const noexcept {
  const Memory m = MemoryOf(args, d);
  const auto fill = [&](const float* from, float* to) {
    std::memset(to, 0, static_cast<size_t>(l_.batch * width_) * sizeof(float));
    for (int64_t n = 0; from != nullptr && n < l_.batch; ++n) {
      std::copy_n(from + (d * l_.batch + n) * l_.hidden, l_.hidden, to + n * width_);
    }
  };
  fill(Given(args, 5), m.state[0]);
  if (l_.cell == RnnCell::kLstm) fill(Given(args, 6), m.cell);
}

// The products with x of a share of a chunk's rows.
void Recurrent::Project(const StepArgs& args, int64_t d, int64_t chunk, int64_t group,
                        int64_t groups) const noexcept {
  const int64_t first_step = chunk * chunk_;
  const int64_t rows = std::min(chunk_, l_.steps - first_step) * l_.batch;
  const int64_t begin = rows * group / groups, count = rows * (group + 1) / groups - begin;
  if (count == 0) return;
  const auto row_of = [&](int64_t r) {
    const int64_t n = (begin + r) % l_.batch;
    const int64_t k = first_step + (begin + r) / l_.batch;
    return (Position(d, k, Length(args, n)) * l_.batch + n) * l_.size;
  };
  float* y = MemoryOf(args, d).input[chunk % buffers_] + begin * l_.gates() * width_;
  const RnnMatrix& w = constants_[d].input;
  if (l_.dynamic) {
    const int8_t* codes = input_.Codes(args.scratch);
    const DynamicS8 params = input_.Params(args.scratch);
    for (int64_t r = 0; r < count; ++r)
      input_codes_.Take(args.thread_scratch, r, codes + row_of(r));
    w.Multiply(input_codes_.Rows(args.thread_scratch, count, &params), 0, y);
    return;
  }
  const float** address = reinterpret_cast<const float**>(args.thread_scratch);
  for (int64_t r = 0; r < count; ++r) address[r] = args.In<float>(0) + row_of(r);
  w.Multiply(address, count, 0, y);
}

void Recurrent::Recur(const StepArgs& args, int64_t d, int64_t chunk) const noexcept {
  const int64_t end = std::min(l_.steps, (chunk + 1) * chunk_);
  for (int64_t k = chunk * chunk_; k < end; ++k) {
    Units(args, d, k, 0);
    if (l_.two_stages()) Candidates(args, d, k, 0);
  }
}

void Recurrent::Multiply(const StepArgs& args, const RnnMatrix& w, const float* x, int64_t part,
                         float* y) const noexcept {
  if (l_.dynamic) {
    const DynamicS8 params = state_codes_.Quantize(args.thread_scratch, x, l_.batch, width_);
    w.Multiply(state_codes_.Rows(args.thread_scratch, l_.batch, &params), part, y);
    return;
  }
  const float** address = reinterpret_cast<const float**>(args.thread_scratch);
  for (int64_t n = 0; n < l_.batch; ++n) address[n] = x + n * width_;
  w.Multiply(address, l_.batch, part, y);
}

// Step k for a part of the units: all of it, or the gates before the candidates.
void Recurrent::Units(const StepArgs& args, int64_t d, int64_t k, int64_t part) const noexcept {
  const Memory m = MemoryOf(args, d);
  Multiply(args, constants_[d].state, m.state[k % 2], part, m.product);
  switch (l_.cell) {
    case RnnCell::kGru:
      return Gates(args, RnnStage::kGruReset, d, k, part);
    case RnnCell::kLstm:
      Gates(args, RnnStage::kLstm, d, k, part);
      break;
    case RnnCell::kGruLinear:
      Gates(args, RnnStage::kGruLinear, d, k, part);
      break;
    case RnnCell::kRnn:
      Gates(args, RnnStage::kRnn, d, k, part);
      break;
  }
  Finish(args, d, k, part);
}

void Recurrent::Candidates(const StepArgs& args, int64_t d, int64_t k,
                           int64_t part) const noexcept {
  const Memory m = MemoryOf(args, d);
  Multiply(args, constants_[d].candidate, m.reset, part, m.product + 2 * l_.batch * width_);
  Gates(args, RnnStage::kGruCandidate, d, k, part);
  Finish(args, d, k, part);
}

void Recurrent::Gates(const StepArgs& args, RnnStage stage, int64_t d, int64_t k,
                      int64_t part) const noexcept {
  const Memory m = MemoryOf(args, d);
  const Constants& c = constants_[d];
  const int64_t first = blocks_ * part / parts_, many = l_.gates();
  const int64_t in_product = stage == RnnStage::kGruReset       ? 2
                             : stage == RnnStage::kGruCandidate ? 1
                                                                : many;
  const float* product = m.product + (stage == RnnStage::kGruCandidate ? 2 * l_.batch * width_ : 0);
  const GateAct* acts = l_.acts.data() + d * l_.acts_each();
  const int64_t unit = first * kRnnBlock;
  RnnF32Args t{};
  t.stage = stage;
  t.blocks = blocks_ * (part + 1) / parts_ - first;
  t.bias = c.bias.data() + unit * many;
  if (c.peephole.size() > 0) t.peephole = c.peephole.data() + unit * 3;
  t.act_f = acts[0];
  if (l_.acts_each() > 1) t.act_g = acts[1];
  if (l_.acts_each() > 2) t.act_h = acts[2];
  t.clip = l_.clip;
  t.cell_clip = l_.cell_clip;
  t.input_forget = l_.input_forget;
  float* to = stage == RnnStage::kGruReset ? m.reset : m.state[(k + 1) % 2];
  for (int64_t n = 0; n < l_.batch; ++n) {
    const int64_t at = n * width_ + unit;
    t.x =
        m.input[k / chunk_ % buffers_] + (k % chunk_ * l_.batch + n) * many * width_ + unit * many;
    t.h = product + n * in_product * width_ + unit * in_product;
    t.state = m.state[k % 2] + at;
    t.z = m.z + at;
    t.cell = m.cell == nullptr ? nullptr : m.cell + at;
    t.y = to + at;
    if (stage != RnnStage::kGruReset && k >= Length(args, n)) {
      // The sequence has ended: its state stays.
      std::copy_n(t.state, t.blocks * kRnnBlock, t.y);
    } else {
      gates_(t);
    }
  }
}

// The outputs of step k for a part of the units.
void Recurrent::Finish(const StepArgs& args, int64_t d, int64_t k, int64_t part) const noexcept {
  const Memory m = MemoryOf(args, d);
  const int64_t first = blocks_ * part / parts_ * kRnnBlock;
  const int64_t count = std::min(blocks_ * (part + 1) / parts_ * kRnnBlock, l_.hidden) - first;
  const bool last = k == l_.steps - 1;
  for (int64_t n = 0; n < l_.batch; ++n) {
    const int64_t length = Length(args, n), at = n * width_ + first;
    const float* h = m.state[(k + 1) % 2] + at;
    const int64_t position = Position(d, k, length);
    float* y = args.Out<float>(0) + ((position * l_.directions + d) * l_.batch + n) * l_.hidden;
    if (k < length) {
      std::copy_n(h, count, y + first);
    } else {
      std::fill_n(y + first, count, 0.0f);
    }
    if (!last) continue;
    const int64_t end = (d * l_.batch + n) * l_.hidden + first;
    std::copy_n(h, count, args.Out<float>(1) + end);
    if (m.cell != nullptr) std::copy_n(m.cell + at, count, args.Out<float>(2) + end);
  }
}

}  // namespace

std::unique_ptr<Step> NewRecurrent(const RnnLayer& layer, PlanContext& plan) {
  return std::make_unique<Recurrent>(layer, plan);
}

}  // namespace bitlite
