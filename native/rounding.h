// Weight codes that keep a layer's output: products of its inputs, and coordinate descent on them;
// see quant/ptq/rounding.py. On the kernels of the active instruction set; the results are the same
// bits on every one.
#pragma once

#include <cstdint>

namespace bitlite {

constexpr int64_t kMostGramRows = 1 << 15;  // products of 9 bits add up in int32

// X'X - s s' / rows of x [rows, k], s its column sums, |x| <= 255, 1 <= rows <= kMostGramRows.
// Calls for the parts 0 .. parts - 1 fill the whole of gram [k, k], which they share.
void Gram(const int16_t* x, int64_t rows, int64_t k, int part, int parts, double* gram);

// Adds to products[channels, taps, taps] the X'X of each channel, and to sums[channels, taps] the
// sums, of x [rows, taps, channels]; over all calls rows <= kMostGramRows.
void GramByChannel(const int16_t* x, int64_t rows, int64_t taps, int64_t channels,
                   int32_t* products, int32_t* sums);

// Lowers (q - real)' gram (q - real) column by column: q and real are [k, columns], gram is [k, k],
// symmetric with a positive diagonal. Codes stay within [low, high], whole numbers, and codes 2i
// and 2i + 1 of one sign within a sum of `pair`, a whole number. The result does not depend on how
// columns are parted among calls.
void Descend(const double* gram, const double* real, double* q, int64_t k, int64_t columns,
             int64_t begin, int64_t end, double low, double high, double pair, int sweeps);

// The Cholesky factor C of a positive definite matrix [k, k] in place, C C' = matrix: C on and
// below the diagonal, its mirror image above. False, the matrix spoilt, where it is not positive
// definite in double.
bool Factor(double* matrix, int64_t k);

// As Gram, of the columns of x and those of y: (x - mean x)' y, cross [k of x, k of y].
void Cross(const int16_t* x, const int16_t* y, int64_t rows, int64_t k, int part, int parts,
           double* cross);

// Columns begin .. end of q [k, columns]: matrix' real, and the solution of C C' q = real for a
// factor C. As with Descend, columns may be parted among calls.
void Multiply(const double* matrix, const double* real, double* q, int64_t k, int64_t columns,
              int64_t begin, int64_t end);
void Solve(const double* factor, const double* real, double* q, int64_t k, int64_t columns,
           int64_t begin, int64_t end);

// Codes q [k, columns] for real ones, from the last row to the first, each of which gives what it
// loses to those still to come in proportion to the factor of X'X: the nearest plane of Babai,
// which is GPTQ. As with Descend, columns may be parted among calls.
void Eliminate(const double* factor, const double* real, double* q, int64_t k, int64_t columns,
               int64_t begin, int64_t end, double low, double high);

// Adds to costs[n, n], for each two of the n columns of w [rows, n], the squares by which their
// magnitudes, at most 127, exceed `most`, at least 127, together.
void AddExcess(const uint8_t* w, int64_t rows, int64_t n, int most, double* costs);

// Lowers the costs[n, n], symmetric, none below 0, of the neighbours 2i and 2i + 1 in `order`: each
// two of them take of the others that exchange of one for one which lowers most, until none does or
// for `sweeps`.
void MatchPairs(const double* costs, int64_t n, int sweeps, int64_t* order);

}  // namespace bitlite
