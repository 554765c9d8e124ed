// The table made from kernels.def: typed selection of a kernel for a set of CPU features.
#pragma once

#include <cstring>

#include "../cpu.h"
#include "binary_f32.h"
#include "depthwise_f32.h"
#include "depthwise_s8.h"
#include "gemm_f32.h"
#include "gemm_s8.h"
#include "packed_f32.h"
#include "reduce_f32.h"
#include "rnn_f32.h"
#include "softmax_f32.h"
#include "statistics.h"
#include "unary_f32.h"
#include "vector_s8.h"
#include "winograd_f32.h"

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
