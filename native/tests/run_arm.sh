#!/bin/sh
# Cross-builds the C++ tests for 64-bit Arm and runs them under QEMU user emulation, once per level of
# instructions. Debian: apt-get install g++-aarch64-linux-gnu qemu-user
# Exit status 77 when the tools are missing.
#   native/tests/run_arm.sh [build directory]
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
build=${1:-$root/build/arm}
compiler=aarch64-linux-gnu-g++
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
if ! command -v $compiler >/dev/null || [ -z "$qemu" ]; then
  echo "skipped: $compiler and qemu-aarch64 are needed" >&2
  exit 77
fi
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=$compiler -DBITLITE_PYTHON=OFF -DBITLITE_TESTS=ON
cmake --build "$build" -j "${JOBS:-2}" --target bitlite_tests
# A Cortex-A72 has neither dot products nor i8mm, a Neoverse N1 has the former.
for cpu in cortex-a72 neoverse-n1 max; do
  echo "== $cpu"
  "$qemu" -L /usr/aarch64-linux-gnu -cpu $cpu "$build/bitlite_tests"
done
