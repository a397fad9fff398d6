/* Cortex-M without a vendor's library: start-up, and output through the debugger (semihosting), as
 * qemu has it. On a board of your own, keep what its vendor gives you, and call the kernels. */
#include <string.h>

#include "board.h"
#include "golden.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define CPACR REGISTER(0xE000ED88u)       /* access to the floating-point unit */
#define SYST_CSR REGISTER(0xE000E010u)    /* SysTick: control, reload, value */
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)
#define TICKS 0x1000000u                  /* until SysTick wraps */
#define PAINT 0xA5A5A5A5u

extern uint32_t data_start[], data_end[], data_source[], bss_start[], bss_end[];
extern uint32_t stack_bottom[], stack_top[];
int main(int argc, char **argv);
void reset(void);

static volatile uint32_t wraps;

static int32_t semihosting(int32_t operation, const void *argument)
{
    register int32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(uint32_t code)
{
    uint32_t reason[2] = {0x20026u, code}; /* the application has ended */
    semihosting(0x20, reason);
    for (;;) {
    }
}

static void fault(void)
{
    board_say("fault\n");
    leave(3);
}

static void tick(void)
{
    wraps++;
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    (void *)fault, 0, 0, 0, 0, (void *)fault, (void *)fault, 0, (void *)fault, (void *)tick};

static void prepare(void)
{
    volatile uint32_t *used; /* the stack from here on is in use */
    memcpy(data_start, data_source, (size_t)(data_end - data_start) * sizeof *data_start);
    memset(bss_start, 0, (size_t)(bss_end - bss_start) * sizeof *bss_start);
    __asm__ volatile("mov %0, sp" : "=r"(used));
    for (volatile uint32_t *word = stack_bottom; word < used; word++) {
        *word = PAINT;
    }
}

void reset(void)
{
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n isb" ::: "memory");
    prepare();
    leave((uint32_t)main(0, 0));
}

void board_say(const char *text)
{
    semihosting(0x04, text);
}

int board_image(int argc, char **argv, uint8_t *image, uint32_t bytes)
{
    (void)argc;
    (void)argv;
    memcpy(image, example_image, bytes);
    return 0;
}

void board_start(void)
{
    wraps = 0;
    SYST_RVR = TICKS - 1;
    SYST_CVR = 0;
    SYST_CSR = 7; /* the processor's clock, interrupt, on */
}

static void say_number(const char *name, uint64_t value)
{
    char digits[24];
    char *text = digits + sizeof digits - 1;
    *text = 0;
    do {
        *--text = (char)('0' + (int)(value % 10));
        value /= 10;
    } while (value);
    board_say(name);
    board_say(text);
    board_say("\n");
}

void board_stop(void)
{
    uint32_t left = SYST_CVR;
    SYST_CSR = 0;
    uint64_t ticks = (uint64_t)wraps * TICKS + (TICKS - 1 - left);
    const volatile uint32_t *word = stack_bottom;
    while (word < stack_top && *word == PAINT) {
        word++;
    }
    say_number("stack bytes: ", (uint64_t)(stack_top - word) * sizeof *word);
    say_number("ticks of the processor's clock (in qemu, 40 instructions each): ", ticks);
}
