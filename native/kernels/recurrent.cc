// Steps come in chunks: the products with x of a chunk are one matrix product, and those with the
// state follow step by step. A lane, the sequences or some of them in one direction, stays on one
// thread, while others make the products of the chunk after; where there are fewer lanes than
// threads and one step is work enough for several, its units are shared among them.
#include "recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "dynamic_s8.h"
#include "kernels.h"
#include "rnn_constants.h"

namespace bitlite {
namespace {

constexpr int64_t kMaxPhases = 4096;

class Recurrent final : public Step {
 public:
  Recurrent(const RnnLayer& layer, PlanContext& plan);
  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;

 private:
  enum class Kind { kFindRange, kQuantize, kLanes, kChunk, kUnits, kCandidates };
  struct Phase {
    Kind kind;
    int64_t index;  // chunk or step
  };
  // Sequences [first, first + rows) in direction d, with what they have in Step::scratch.
  struct Lane {
    int64_t d, first, rows;
    float *input[2], *product, *reset, *z, *state[2], *cell;
  };

  void Schedule(int threads);
  Lane LaneOf(const StepArgs& args, int64_t index) const noexcept;
  int64_t Length(const StepArgs& args, int64_t n) const noexcept;
  int64_t Position(int64_t d, int64_t k, int64_t length) const noexcept;
  void Start(const StepArgs& args, const Lane& lane) const noexcept;
  void Project(const StepArgs& args, const Lane& lane, int64_t chunk, int64_t share,
               int64_t shares) const noexcept;
  void Recur(const StepArgs& args, const Lane& lane, int64_t chunk) const noexcept;
  void Units(const StepArgs& args, const Lane& lane, int64_t k, int64_t part) const noexcept;
  void Candidates(const StepArgs& args, const Lane& lane, int64_t k, int64_t part) const noexcept;
  void Multiply(const StepArgs& args, const Lane& lane, const RnnMatrix& w, const float* x,
                int64_t part, float* y) const noexcept;
  void Gates(const StepArgs& args, RnnStage stage, const Lane& lane, int64_t k,
             int64_t part) const noexcept;
  void Finish(const StepArgs& args, const Lane& lane, int64_t k, int64_t part) const noexcept;
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
  std::vector<RnnConstants> constants_;
  RnnCodes input_codes_, state_codes_;
  DynamicInput input_;
  std::vector<Phase> schedule_;
  int64_t lanes_ = 1, lane_rows_ = 1;  // lane_rows_: the most that one has
  int64_t chunk_ = 1, chunks_ = 1, buffers_ = 1, parts_ = 1;
  int64_t first_shares_ = 1, shares_ = 1;  // of a chunk's rows: of the first and of the others
  size_t memory_ = 0, memory_at_ = 0;      // bytes of a lane, and where they begin
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
  for (int64_t d = 0; d < l_.directions; ++d) {
    constants_.push_back(PackDirection(l_, plan, d, parts_));
  }
  if (l_.dynamic) {
    const GemmS8Kernel& kernel = SelectGemmS8(plan.isa);
    const VectorS8Kernel& vector = SelectVectorS8(plan.isa);
    input_codes_ = RnnCodes(kernel, vector, l_.size, chunk_ * lane_rows_);
    state_codes_ = RnnCodes(kernel, vector, l_.hidden, l_.batch);
    input_ = DynamicInput(plan.In(0).count, plan.threads, vector);
    phases.insert(phases.begin(), {input_.parts(), input_.parts()});
    schedule_.insert(schedule_.begin(), {{Kind::kFindRange, 0}, {Kind::kQuantize, 0}});
    memory_at_ = static_cast<size_t>(CeilDiv(input_.scratch(), 64) * 64);
    thread_scratch = std::max(input_codes_.bytes(), state_codes_.bytes());
  } else {
    // Where the rows of a product start.
    thread_scratch = static_cast<size_t>(chunk_ * lane_rows_) * sizeof(void*);
  }
  const int64_t floats =
      lane_rows_ * (buffers_ * chunk_ * l_.gates() * width_ + l_.gates() * width_ + 5 * width_);
  memory_ = static_cast<size_t>(floats) * sizeof(float);
  scratch = memory_at_ + memory_ * static_cast<size_t>(lanes_);
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
  cost_ns = static_cast<double>(l_.directions * l_.steps) * (step_ns + input_ns);

  // Sequences can go apart where they do not share a range; a few rows cost as much as one.
  constexpr int64_t kMinLaneRows = 4;
  const int64_t each = CeilDiv(threads, l_.directions);
  const int64_t sets = !l_.dynamic && l_.batch >= kMinLaneRows * each ? each : 1;
  lanes_ = l_.directions * sets;
  lane_rows_ = CeilDiv(l_.batch, sets);
  const int64_t tiles = threads > 1 ? 2 : 4;
  chunk_ = std::min(l_.steps, CeilDiv(tiles * tile_rows_, lane_rows_));
  chunk_ = std::max(chunk_, CeilDiv(l_.steps, kMaxPhases));
  chunks_ = CeilDiv(l_.steps, chunk_);
  if (threads <= lanes_) {
    phases = {lanes_};
    schedule_ = {{Kind::kLanes, 0}};
    return;
  }

  // A barrier in every step costs about as much as it takes to share 2 microseconds of work.
  constexpr double kMinSharedNs = 4000;
  const int64_t many = threads / lanes_;
  const bool enough =
      many > 1 && step_ns > kMinSharedNs && l_.steps * (l_.two_stages() ? 2 : 1) <= kMaxPhases;
  if (enough) parts_ = std::min(many, blocks_);
  const int64_t chunk_rows = chunk_ * lane_rows_;
  first_shares_ = std::clamp<int64_t>(CeilDiv(threads, lanes_), 1, chunk_rows);
  const bool recurs_longer =
      input_ns * static_cast<double>(lanes_) <= step_ns * static_cast<double>(threads - lanes_);
  shares_ = recurs_longer && parts_ == 1 ? CeilDiv(threads - lanes_, lanes_)
                                         : CeilDiv(4 * threads, lanes_);
  shares_ = std::clamp<int64_t>(shares_, 1, CeilDiv(chunk_rows, 4));
  phases.clear();
  for (int64_t c = 0; c < chunks_; ++c) {
    // The products of a chunk are made while the chunk before it recurs.
    const bool recurs = c > 0 && parts_ == 1;
    schedule_.push_back({Kind::kChunk, c});
    phases.push_back(lanes_ * ((c == 0 ? first_shares_ : shares_) + (recurs ? 1 : 0)));
    if (parts_ == 1) continue;
    for (int64_t k = c * chunk_; k < std::min(l_.steps, (c + 1) * chunk_); ++k) {
      schedule_.push_back({Kind::kUnits, k});
      phases.push_back(lanes_ * parts_);
      if (!l_.two_stages()) continue;
      schedule_.push_back({Kind::kCandidates, k});
      phases.push_back(lanes_ * parts_);
    }
  }
  if (parts_ > 1) return;
  buffers_ = 2;
  schedule_.push_back({Kind::kChunk, chunks_});
  phases.push_back(lanes_);
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
    const Lane lane = LaneOf(args, item % lanes_);
    int64_t part = item / lanes_;
    switch (now.kind) {
      case Kind::kLanes:
        Start(args, lane);
        for (int64_t c = 0; c < chunks_; ++c) {
          Project(args, lane, c, 0, 1);
          Recur(args, lane, c);
        }
        break;
      case Kind::kChunk:
        if (now.index == 0 && part == 0) Start(args, lane);
        if (now.index > 0 && parts_ == 1 && part-- == 0) {
          Recur(args, lane, now.index - 1);
        } else {
          Project(args, lane, now.index, part, now.index == 0 ? first_shares_ : shares_);
        }
        break;
      case Kind::kUnits:
        Units(args, lane, now.index, part);
        break;
      default:
        Candidates(args, lane, now.index, part);
    }
  }
}

Recurrent::Lane Recurrent::LaneOf(const StepArgs& args, int64_t index) const noexcept {
  const int64_t set = index / l_.directions, sets = lanes_ / l_.directions;
  Lane lane{};
  lane.d = index % l_.directions;
  lane.first = l_.batch * set / sets;
  lane.rows = l_.batch * (set + 1) / sets - lane.first;
  uint8_t* memory = args.scratch + memory_at_ + static_cast<size_t>(index) * memory_;
  float* at = reinterpret_cast<float*>(memory);
  const auto take = [&](int64_t per_row) {
    float* p = at;
    at += lane_rows_ * per_row;
    return p;
  };
  for (int64_t i = 0; i < buffers_; ++i) lane.input[i] = take(chunk_ * l_.gates() * width_);
  lane.product = take(l_.gates() * width_);
  lane.reset = take(width_);
  lane.z = take(width_);
  for (float*& p : lane.state) p = take(width_);
  lane.cell = l_.cell == RnnCell::kLstm ? take(width_) : nullptr;
  return lane;
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

void Recurrent::Start(const StepArgs& args, const Lane& lane) const noexcept {
  const auto fill = [&](const float* from, float* to) {
    std::memset(to, 0, static_cast<size_t>(lane.rows * width_) * sizeof(float));
    for (int64_t r = 0; from != nullptr && r < lane.rows; ++r) {
      std::copy_n(from + (lane.d * l_.batch + lane.first + r) * l_.hidden, l_.hidden,
                  to + r * width_);
    }
  };
  fill(Given(args, 5), lane.state[0]);
  if (lane.cell != nullptr) fill(Given(args, 6), lane.cell);
}

// The products with x of a share of a chunk's rows.
void Recurrent::Project(const StepArgs& args, const Lane& lane, int64_t chunk, int64_t share,
                        int64_t shares) const noexcept {
  const int64_t first_step = chunk * chunk_;
  const int64_t rows = std::min(chunk_, l_.steps - first_step) * lane.rows;
  const int64_t begin = rows * share / shares, count = rows * (share + 1) / shares - begin;
  if (count == 0) return;
  const auto row_of = [&](int64_t r) {
    const int64_t n = lane.first + (begin + r) % lane.rows;
    const int64_t k = first_step + (begin + r) / lane.rows;
    return (Position(lane.d, k, Length(args, n)) * l_.batch + n) * l_.size;
  };
  float* y = lane.input[chunk % buffers_] + begin * l_.gates() * width_;
  const RnnMatrix& w = constants_[lane.d].input;
  if (l_.dynamic) {
    const int8_t* codes = input_.Codes(args.scratch);
    for (int64_t r = 0; r < count; ++r) {
      input_codes_.Take(args.thread_scratch, r, codes + row_of(r));
    }
    const DynamicS8 params = input_.Params(args.scratch);
    w.Multiply(input_codes_.All(args.thread_scratch, count, params), 0, y);
    return;
  }
  const float** address = reinterpret_cast<const float**>(args.thread_scratch);
  for (int64_t r = 0; r < count; ++r) address[r] = args.In<float>(0) + row_of(r);
  w.Multiply(address, count, 0, y);
}

void Recurrent::Recur(const StepArgs& args, const Lane& lane, int64_t chunk) const noexcept {
  const int64_t end = std::min(l_.steps, (chunk + 1) * chunk_);
  for (int64_t k = chunk * chunk_; k < end; ++k) {
    Units(args, lane, k, 0);
    if (l_.two_stages()) Candidates(args, lane, k, 0);
  }
}

void Recurrent::Multiply(const StepArgs& args, const Lane& lane, const RnnMatrix& w, const float* x,
                         int64_t part, float* y) const noexcept {
  if (l_.dynamic) {
    const DynamicS8 params = state_codes_.Quantize(args.thread_scratch, x, lane.rows, width_);
    w.Multiply(state_codes_.All(args.thread_scratch, lane.rows, params), part, y);
    return;
  }
  const float** address = reinterpret_cast<const float**>(args.thread_scratch);
  for (int64_t r = 0; r < lane.rows; ++r) address[r] = x + r * width_;
  w.Multiply(address, lane.rows, part, y);
}

// Step k for a part of the units: all of it, or the gates before the candidates.
void Recurrent::Units(const StepArgs& args, const Lane& lane, int64_t k,
                      int64_t part) const noexcept {
  Multiply(args, lane, constants_[lane.d].state, lane.state[k % 2], part, lane.product);
  switch (l_.cell) {
    case RnnCell::kGru:
      return Gates(args, RnnStage::kGruReset, lane, k, part);
    case RnnCell::kLstm:
      Gates(args, RnnStage::kLstm, lane, k, part);
      break;
    case RnnCell::kGruLinear:
      Gates(args, RnnStage::kGruLinear, lane, k, part);
      break;
    case RnnCell::kRnn:
      Gates(args, RnnStage::kRnn, lane, k, part);
      break;
  }
  Finish(args, lane, k, part);
}

void Recurrent::Candidates(const StepArgs& args, const Lane& lane, int64_t k,
                           int64_t part) const noexcept {
  float* product = lane.product + 2 * lane.rows * width_;
  Multiply(args, lane, constants_[lane.d].candidate, lane.reset, part, product);
  Gates(args, RnnStage::kGruCandidate, lane, k, part);
  Finish(args, lane, k, part);
}

void Recurrent::Gates(const StepArgs& args, RnnStage stage, const Lane& lane, int64_t k,
                      int64_t part) const noexcept {
  const RnnConstants& c = constants_[lane.d];
  const int64_t first = blocks_ * part / parts_, unit = first * kRnnBlock, many = l_.gates();
  const int64_t in_product = stage == RnnStage::kGruReset       ? 2
                             : stage == RnnStage::kGruCandidate ? 1
                                                                : many;
  const float* product =
      lane.product + (stage == RnnStage::kGruCandidate ? 2 * lane.rows * width_ : 0);
  const float* input = lane.input[k / chunk_ % buffers_] + k % chunk_ * lane.rows * many * width_;
  const GateAct* acts = l_.acts.data() + lane.d * l_.acts_each();
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
  float* to = stage == RnnStage::kGruReset ? lane.reset : lane.state[(k + 1) % 2];
  for (int64_t r = 0; r < lane.rows; ++r) {
    const int64_t at = r * width_ + unit;
    t.x = input + (r * width_ + unit) * many;
    t.h = product + at * in_product;
    t.state = lane.state[k % 2] + at;
    t.z = lane.z + at;
    t.cell = lane.cell == nullptr ? nullptr : lane.cell + at;
    t.y = to + at;
    if (stage != RnnStage::kGruReset && k >= Length(args, lane.first + r)) {
      // The sequence has ended: its state stays.
      std::copy_n(t.state, t.blocks * kRnnBlock, t.y);
    } else {
      gates_(t);
    }
  }
}

// The outputs of step k for a part of the units.
void Recurrent::Finish(const StepArgs& args, const Lane& lane, int64_t k,
                       int64_t part) const noexcept {
  const int64_t first = blocks_ * part / parts_ * kRnnBlock;
  const int64_t count = std::min(blocks_ * (part + 1) / parts_ * kRnnBlock, l_.hidden) - first;
  const bool last = k == l_.steps - 1;
  for (int64_t r = 0; r < lane.rows; ++r) {
    const int64_t n = lane.first + r, at = r * width_ + first;
    const int64_t length = Length(args, n), position = Position(lane.d, k, length);
    const float* h = lane.state[(k + 1) % 2] + at;
    const int64_t row = (position * l_.directions + lane.d) * l_.batch + n;
    float* y = args.Out<float>(0) + row * l_.hidden + first;
    if (k < length) {
      std::copy_n(h, count, y);
    } else {
      std::fill_n(y, count, 0.0f);
    }
    if (!last) continue;
    const int64_t end = (lane.d * l_.batch + n) * l_.hidden + first;
    std::copy_n(h, count, args.Out<float>(1) + end);
    if (lane.cell != nullptr) std::copy_n(lane.cell + at, count, args.Out<float>(2) + end);
  }
}

}  // namespace

std::unique_ptr<Step> NewRecurrent(const RnnLayer& layer, PlanContext& plan) {
  return std::make_unique<Recurrent>(layer, plan);
}

}  // namespace bitlite
