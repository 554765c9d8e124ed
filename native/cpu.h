// Instruction sets as bits. Three separate questions: what this binary was built with, what the CPU
// (and its OS) can run, and what BITLITE_ISA allows; a kernel is used when all three say yes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bitlite {

using IsaMask = uint32_t;

// kIsaScalar needs nothing. kIsaAvx2 stands for AVX2 + FMA + F16C, kIsaAvx512 for F, BW, DQ and VL.
constexpr IsaMask kIsaScalar = 0;
constexpr IsaMask kIsaAvx2 = 1u << 0;
constexpr IsaMask kIsaAvxVnni = 1u << 1;
constexpr IsaMask kIsaAvx512 = 1u << 2;
constexpr IsaMask kIsaAvx512Vnni = 1u << 3;
constexpr IsaMask kIsaNeon = 1u << 4;
constexpr IsaMask kIsaNeonDot = 1u << 5;
constexpr IsaMask kIsaNeonI8mm = 1u << 6;

IsaMask BuiltIsa();
IsaMask CpuIsa();

// The bits that a level name permits on this machine; throws std::invalid_argument for an unknown
// name. A level that the CPU lacks permits everything below it.
IsaMask IsaUpTo(const std::string& level);

// BuiltIsa & CpuIsa, limited by the environment variable BITLITE_ISA. Read at every call: it is
// asked for once per plan.
IsaMask ActiveIsa();

// The highest level that `mask` reaches ("scalar", "avx2", …), and all levels this machine can run.
std::string IsaName(IsaMask mask);
std::vector<std::string> AvailableIsas();

}  // namespace bitlite
