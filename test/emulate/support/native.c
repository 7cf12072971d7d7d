/*
 * Runs single instructions on this computer's own processor, with every register given and every result taken.
 *
 * Standard input: requests (see struct request). Standard output: struct about, then one struct response a request. How: a
 * signal handler replaces the interrupted context by the wanted one, with the trap flag set. One instruction later the
 * processor traps (or faults), and that signal's handler finds the whole result in its context. No C library: FS and GS are
 * the requests', and nothing but the instruction may touch the vector registers.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define CODE 0x10000000UL
#define CODE_OFFSET 0x800UL
#define DATA 0x10100000UL
#define DATA_SIZE 0x2000UL
#define READ_ONLY 0x10200000UL
#define PAGE 0x1000UL
#define MAX_MEMORY 0x2000
#define MAX_FPU 0x4000
#define TF 0x100
#define USER_CS 0x33
#define USER32_CS 0x23
#define USER_DS 0x2b
#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define SA_RESTORER 0x04000000
#define FXSAVE_SW_RESERVED 464
#define XCR0_AMX 0x60000 /* XTILECFG, XTILEDATA */

struct request {
  uint32_t compat;
  uint32_t code_length;
  uint8_t code[16];
  uint64_t gpr[16];
  uint64_t rflags;
  uint64_t fs_base, gs_base;
  uint64_t memory_address;
  uint32_t memory_length, fpu_length;
};

struct response {
  uint32_t vector, padding;
  uint64_t error_code, cr2;
  uint64_t gpr[16];
  uint64_t rip, rflags;
  uint32_t memory_length, fpu_length;
};

struct about {
  uint32_t fpu_length, xcr0;
  uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx, extended1_ecx, whole_xcr0, xsave1_eax, vendor_ebx, mxcsr_mask;
  struct { uint32_t size, offset, flags, padding; } components[32];
};

struct kernel_sigaction {
  void (*handler)(int, siginfo_t *, void *);
  unsigned long flags;
  void (*restorer)(void);
  uint64_t mask;
};

static struct request request;
static struct response response;
static uint8_t memory[MAX_MEMORY], fpu[MAX_FPU], alternate_stack[1 << 16] __attribute__((aligned(64)));
static gregset_t saved;

/* Registers by the numbers that instructions use. */
static const int GREG[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                             REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static long system_call(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static void end(int code) {
  for (;;) system_call(SYS_exit_group, code, 0, 0, 0, 0, 0);
}

void *memcpy(void *to, const void *from, unsigned long length) {
  void *at = to;
  __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(length) : : "memory");
  return to;
}

void *memset(void *to, int value, unsigned long length) {
  void *at = to;
  __asm__ volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(value) : "memory");
  return to;
}

/* Returns 0 at the end of the input. */
static int read_all(void *to, unsigned long length) {
  for (unsigned long done = 0; done < length;) {
    long count = system_call(SYS_read, 0, (long)to + done, length - done, 0, 0, 0);
    if (count <= 0) {
      if (count == 0 && done == 0) return 0;
      end(3);
    }
    done += count;
  }
  return 1;
}

static void write_all(const void *from, unsigned long length) {
  for (unsigned long done = 0; done < length;) {
    long count = system_call(SYS_write, 1, (long)from + done, length - done, 0, 0, 0);
    if (count <= 0) end(4);
    done += count;
  }
}

__attribute__((naked)) static void restorer(void) {
  __asm__("mov $15, %eax\n\tsyscall"); /* rt_sigreturn */
}

static void begin(int signal, siginfo_t *info, void *context) {
  ucontext_t *uc = context;
  greg_t *gregs = uc->uc_mcontext.gregs;
  memcpy(saved, gregs, sizeof saved);
  for (int i = 0; i < 16; i++) gregs[GREG[i]] = request.gpr[i];
  gregs[REG_RIP] = CODE + CODE_OFFSET;
  gregs[REG_EFL] = request.rflags | TF;
  gregs[REG_CSGSFS] = (request.compat ? USER32_CS : USER_CS) | ((uint64_t)USER_DS << 48);
  if (request.fpu_length) {
    uint8_t *area = (uint8_t *)uc->uc_mcontext.fpregs;
    memcpy(area, fpu, FXSAVE_SW_RESERVED);
    if (request.fpu_length > 512) memcpy(area + 512, fpu + 512, request.fpu_length - 512);
  }
  system_call(SYS_arch_prctl, ARCH_SET_FS, request.fs_base, 0, 0, 0, 0);
  system_call(SYS_arch_prctl, ARCH_SET_GS, request.gs_base, 0, 0, 0, 0);
}

static void finish(int signal, siginfo_t *info, void *context) {
  ucontext_t *uc = context;
  greg_t *gregs = uc->uc_mcontext.gregs;
  response.vector = gregs[REG_TRAPNO];
  response.error_code = gregs[REG_ERR];
  response.cr2 = gregs[REG_CR2];
  for (int i = 0; i < 16; i++) response.gpr[i] = gregs[GREG[i]];
  response.rip = gregs[REG_RIP] - (CODE + CODE_OFFSET);
  response.rflags = gregs[REG_EFL];
  memcpy(fpu, uc->uc_mcontext.fpregs, response.fpu_length);
  memcpy(gregs, saved, sizeof saved);
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *)) {
  struct kernel_sigaction action = {handler, SA_SIGINFO | SA_ONSTACK | SA_RESTORER, restorer, 0};
  if (system_call(SYS_rt_sigaction, signal, (long)&action, 0, 8, 0, 0) != 0) end(5);
}

static void map(unsigned long address, unsigned long length, int protection) {
  long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE;
  if (system_call(SYS_mmap, address, length, protection, flags, -1, 0) != (long)address) end(6);
}

static struct about about;

static void describe(void) {
  uint32_t a, b, c, d;
  __cpuid(0, a, about.vendor_ebx, c, d);
  __cpuid(1, a, b, about.leaf1_ecx, d);
  __cpuid_count(7, 0, a, about.leaf7_ebx, about.leaf7_ecx, d);
  __cpuid(0x80000001, a, b, about.extended1_ecx, d);
  about.fpu_length = 512;
  if (about.leaf1_ecx & (1 << 27)) { /* OSXSAVE */
    __asm__ volatile("xgetbv" : "=a"(about.xcr0), "=d"(d) : "c"(0));
    /* A signal's frame has no room for AMX's tiles: a process must ask for them first (Linux, Documentation/arch/x86/xstate.rst). */
    about.whole_xcr0 = about.xcr0;
    about.xcr0 &= ~XCR0_AMX;
    about.fpu_length = 576; /* the legacy region and the header */
    __cpuid_count(0xd, 1, about.xsave1_eax, b, c, d);
    for (int i = 2; i < 32; i++) {
      if (!(about.xcr0 >> i & 1)) continue;
      uint32_t size, offset;
      __cpuid_count(0xd, i, size, offset, about.components[i].flags, d);
      about.components[i].size = size;
      about.components[i].offset = offset;
      if (offset + size > about.fpu_length) about.fpu_length = offset + size;
    }
  }
  static uint8_t area[512] __attribute__((aligned(16)));
  __asm__ volatile("fxsave %0" : "=m"(area));
  memcpy(&about.mxcsr_mask, area + 28, 4);
  write_all(&about, sizeof about);
}

__attribute__((used)) static void run(void) {
  stack_t stack = {.ss_sp = alternate_stack, .ss_size = sizeof alternate_stack};
  system_call(SYS_sigaltstack, (long)&stack, 0, 0, 0, 0, 0);
  handle(SIGUSR1, begin);
  handle(SIGTRAP, finish);
  handle(SIGSEGV, finish);
  handle(SIGBUS, finish);
  handle(SIGILL, finish);
  handle(SIGFPE, finish);
  map(CODE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
  map(DATA, DATA_SIZE, PROT_READ | PROT_WRITE);
  map(READ_ONLY, PAGE, PROT_READ);
  /* Compatibility mode needs data segments; 64-bit mode does not look at them. */
  __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(USER_DS));
  describe();
  long pid = system_call(SYS_getpid, 0, 0, 0, 0, 0, 0);
  while (read_all(&request, sizeof request)) {
    if (request.memory_length > MAX_MEMORY || request.fpu_length > MAX_FPU) end(7);
    read_all(memory, request.memory_length);
    read_all(fpu, request.fpu_length);
    memcpy((void *)(CODE + CODE_OFFSET), request.code, request.code_length);
    memcpy((void *)request.memory_address, memory, request.memory_length);
    response.memory_length = request.memory_length;
    response.fpu_length = about.fpu_length;
    system_call(SYS_kill, pid, SIGUSR1, 0, 0, 0, 0);
    write_all(&response, sizeof response);
    write_all((void *)request.memory_address, request.memory_length);
    write_all(fpu, about.fpu_length);
  }
  end(0);
}

__attribute__((naked)) void _start(void) {
  __asm__("and $-16, %rsp\n\tcall run");
}
