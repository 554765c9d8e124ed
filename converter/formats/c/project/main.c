/* @note@
 * Runs @name@ on an example and compares with what the runtime computed: int8 and uint8 bit by bit, float within 1e-5 of
 * the range. */
#include <math.h>
#include <stdio.h>

#include "@name@.h"
#include "@name@_example.h"

@buffers@

static int failures;

static void compare_codes(const char *output, const void *values, const void *expected, int count) {
  int i, wrong = 0;
  for (i = 0; i < count; ++i) wrong += ((const char *)values)[i] != ((const char *)expected)[i];
  printf("%s: %d of %d values differ\n", output, wrong, count);
  failures += wrong;
}

static void compare_reals(const char *output, const float *values, const float *expected, int count) {
  float low = 0.0f, high = 0.0f, worst = 0.0f;
  int i, wrong = 0;
  for (i = 0; i < count; ++i) {
    if (expected[i] < low) low = expected[i];
    if (expected[i] > high) high = expected[i];
  }
  for (i = 0; i < count; ++i) {
    const float error = fabsf(values[i] - expected[i]);
    if (!(error <= 1e-5f * (high - low))) ++wrong;
    if (error > worst) worst = error;
  }
  printf("%s: %d of %d values differ, at most by %g of a range of %g\n", output, wrong, count, (double)worst,
         (double)(high - low));
  failures += wrong;
}

int main(void) {
  (void)compare_codes;
  (void)compare_reals;
  @run@
@compare@
  printf(failures == 0 ? "PASS\n" : "FAIL\n");
  return failures == 0 ? 0 : 1;
}
