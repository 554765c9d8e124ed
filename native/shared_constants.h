// Equal packed constants of a program, as of a layer that is unrolled over steps, are one array.
#pragma once

#include <any>
#include <utility>

#include "step.h"

namespace bitlite {

// What this thread's SlabScope has been given of these bytes and of own's type before, else own,
// which is kept for those to come. Outside of a scope nothing is kept.
std::any FirstOfEqual(const void* data, size_t bytes, std::any own);

// packed takes the memory of an equal array that the same program holds. Nobody writes to either
// afterwards.
template <typename T>
void Share(Aligned<T>& packed) {
  packed = std::any_cast<Aligned<T>>(
      FirstOfEqual(std::as_const(packed).data(), packed.size() * sizeof(T), packed));
}

}  // namespace bitlite
