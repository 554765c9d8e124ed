// The table made from kernels.def: typed selection of a kernel for a set of CPU features.
#pragma once

#include <cstring>

#include "cpu.h"
#include "kernels/binary_f32/binary_f32.h"
#include "kernels/depthwise_f32/depthwise_f32.h"
#include "kernels/depthwise_s8/depthwise_s8.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "kernels/gemm_s8/gemm_s8.h"
#include "kernels/packed_f32/packed_f32.h"
#include "kernels/reduce_f32/reduce_f32.h"
#include "kernels/rnn/rnn_f32.h"
#include "kernels/softmax_f32/softmax_f32.h"
#include "kernels/statistics/statistics.h"
#include "kernels/unary_f32/unary_f32.h"
#include "kernels/vector_s8/vector_s8.h"
#include "kernels/winograd_f32/winograd_f32.h"

namespace bitlite {

struct KernelRow {
  const char* family;
  const char* symbol;
  IsaMask isa;
  void (*fn)();  // of type family::Fn
  int a, b, c;
};

// All rows that were built, in the order of kernels.def.
const KernelRow* KernelRows(int* count);

template <typename Fn>
struct Kernel {
  Fn* fn = nullptr;
  const KernelRow* row = nullptr;
};

const KernelRow* SelectRow(const char* family, IsaMask isa);

// Called through BITLITE_SELECT(family, isa). Null fn when no row fits.
template <typename Family>
Kernel<typename Family::Fn> SelectKernel(const char* family, IsaMask isa) {
  const KernelRow* row = SelectRow(family, isa);
  if (row == nullptr) return {};
  return {reinterpret_cast<typename Family::Fn*>(row->fn), row};
}

#define BITLITE_SELECT(family, isa) ::bitlite::SelectKernel<::bitlite::family>(#family, isa)

}  // namespace bitlite
