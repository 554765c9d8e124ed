/* What runs before main on a Cortex-M of QEMU's MPS2 and MPS3 boards: memory, the float unit, semihosting. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;
extern void initialise_monitor_handles(void);
extern int main(void);

void reset_handler(void) {
  memcpy(&data_start, &data_load, (size_t)((char *)&data_end - (char *)&data_start));
  memset(&bss_start, 0, (size_t)((char *)&bss_end - (char *)&bss_start));
#if defined(__ARM_FP)
  *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: full access to the float unit */
  __asm volatile("dsb\nisb");
#endif
  initialise_monitor_handles();
  exit(main());
}

static void fault_handler(void) { exit(70); }

void (*const vectors[])(void) __attribute__((section(".vectors"), used)) = {
    (void (*)(void))&stack_top, reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
};
