#include "rnn_schedule.h"

#include <algorithm>

#include "kernels/common/quant_step.h"

namespace bitlite {
namespace {

constexpr int64_t kMaxPhases = 4096;

}  // namespace

RnnSchedule::RnnSchedule(const RnnLayer& layer, int threads, int tile_rows) {
  const double rows = static_cast<double>(layer.batch);
  const double weights = static_cast<double>(layer.gates()) * static_cast<double>(layer.hidden);
  const double per_byte = 1.0 / 50, per_mac = layer.dynamic ? 1.0 / 350 : 1.0 / 50;
  const double product = std::max((layer.dynamic ? 1 : 4) * per_byte, rows * per_mac);
  const double per_column = layer.dynamic ? 0.65 : 0.4;
  const double step_ns =
      weights * (static_cast<double>(layer.hidden) * product + rows * per_column) + 100;
  const double input_ns = rows * weights * static_cast<double>(layer.size) * per_mac;
  cost_ns = static_cast<double>(layer.directions * layer.steps) * (step_ns + input_ns);

  // A barrier in every step costs about as much as it takes to share 2 microseconds of work.
  constexpr double kMinSharedNs = 4000;
  const bool shared =
      step_ns > kMinSharedNs && layer.steps * (layer.two_stages() ? 2 : 1) <= kMaxPhases;
  // Sequences of a common range go together; a few rows cost as much as one.
  constexpr int64_t kMinLaneRows = 4;
  const int64_t each = CeilDiv(threads, layer.directions);
  if (layer.batch >= kMinLaneRows * each && (shared || !layer.dynamic)) sets = each;
  lanes = layer.directions * sets;
  lane_rows = CeilDiv(layer.batch, sets);
  if (shared) parts = std::clamp<int64_t>(threads / lanes, 1, CeilDiv(layer.hidden, kRnnBlock));
  together = parts > 1 || (layer.dynamic && sets > 1);
  chunk = std::min(layer.steps, CeilDiv((threads > 1 ? 2 : 4) * tile_rows, lane_rows));
  chunk = std::max(chunk, CeilDiv(layer.steps, kMaxPhases));
  chunks = CeilDiv(layer.steps, chunk);
  if (threads <= lanes && !together) {
    phases = {{Kind::kLanes, 0, lanes}};
    return;
  }
  if (!together) buffers = 2;
  const int64_t chunk_rows = chunk * lane_rows;
  first_shares = std::clamp<int64_t>(CeilDiv(threads, lanes), 1, chunk_rows);
  const bool recurs_longer = input_ns * static_cast<double>(layer.directions) <=
                             step_ns * static_cast<double>(threads - lanes);
  shares =
      recurs_longer && !together ? CeilDiv(threads - lanes, lanes) : CeilDiv(4 * threads, lanes);
  shares = std::clamp<int64_t>(shares, 1, CeilDiv(chunk_rows, 4));
  AddPhases(layer);
}

void RnnSchedule::AddPhases(const RnnLayer& layer) {
  for (int64_t c = 0; c < chunks; ++c) {
    // Products of this chunk, and, when steps are no phases, the steps of the one before.
    const int64_t recurring = c > 0 && !together ? 1 : 0;
    phases.push_back({Kind::kChunk, c, lanes * ((c == 0 ? first_shares : shares) + recurring)});
    if (!together) continue;
    for (int64_t k = c * chunk; k < std::min(layer.steps, (c + 1) * chunk); ++k) {
      phases.push_back({Kind::kUnits, k, lanes * parts});
      if (layer.two_stages()) phases.push_back({Kind::kCandidates, k, lanes * parts});
    }
  }
  if (!together) phases.push_back({Kind::kChunk, chunks, lanes});
}

}  // namespace bitlite
