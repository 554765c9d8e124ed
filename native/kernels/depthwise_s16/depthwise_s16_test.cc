// depthwise_s16 against plain loops.
#include <algorithm>
#include <string>
#include <vector>

#include "requant.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

struct RowCase {
  std::vector<std::vector<int16_t>> x;  // by tap
  std::vector<int8_t> w;                // [channels, taps]
  std::vector<int16_t> packed, y;
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
  std::vector<const int16_t*> taps;
  DepthwiseS16Row row{};

  RowCase(int channels, int count) {
    Random random(static_cast<uint32_t>(channels * 100 + count));
    const int blocks = (channels + kChannelsS16 - 1) / kChannelsS16, pairs = (count + 1) / 2;
    const size_t padded = static_cast<size_t>(blocks * kChannelsS16);
    packed.assign(padded * static_cast<size_t>(2 * pairs), 0);
    bias.assign(padded, 0);
    multiplier.assign(padded, 0.0f);
    y.assign(static_cast<size_t>(channels), 0);
    w.resize(static_cast<size_t>(channels * count));
    x.assign(static_cast<size_t>(2 * pairs), std::vector<int16_t>(static_cast<size_t>(channels)));
    for (auto& tap : x) {
      for (int16_t& v : tap) v = static_cast<int16_t>(random());
      taps.push_back(tap.data());
    }
    for (int c = 0; c < channels; ++c) {
      bias[static_cast<size_t>(c)] = static_cast<int32_t>(random()) / 4;
      multiplier[static_cast<size_t>(c)] = 1e-4f * static_cast<float>(1 + random() % 100);
      for (int t = 0; t < count; ++t) {
        const int8_t code = Code(random);
        w[static_cast<size_t>(c * count + t)] = code;
        const int at = (c / kChannelsS16 * pairs + t / 2) * kChannelsS16 + c % kChannelsS16;
        packed[static_cast<size_t>(2 * at + t % 2)] = code;
      }
    }
    row = {taps.data(), pairs,    packed.data(), bias.data(), multiplier.data(),
           y.data(),    channels, -30000.0f,     31000.0f};
  }
};

}  // namespace

template <>
void TestKernel(const Kernel<depthwise_s16>& entry) {
  for (int channels : kSizes) {
    for (int count : {1, 2, 9, 25}) {
      RowCase c(channels, count);
      entry.fn(c.row);
      for (int i = 0; i < channels; ++i) {
        int32_t sum = c.bias[static_cast<size_t>(i)];
        for (int t = 0; t < count; ++t) {
          sum += c.x[static_cast<size_t>(t)][static_cast<size_t>(i)] *
                 c.w[static_cast<size_t>(i * count + t)];
        }
        const float v = static_cast<float>(sum) * c.multiplier[static_cast<size_t>(i)];
        CHECK(c.y[static_cast<size_t>(i)] == RneSmall(std::clamp(v, -30000.0f, 31000.0f)))
            << entry.symbol << " channels=" << channels << " taps=" << count << " channel " << i;
      }
    }
  }
}

template <>
void TimeKernel(const Kernel<depthwise_s16>& entry) {
  RowCase c(384, 9);
  const double seconds = benching::Time([&] { entry.fn(c.row); });
  benching::Report(std::string(entry.symbol) + " 384 channels, 9 taps", seconds, 2.0 * 384 * 9, 0);
}

}  // namespace bitlite
