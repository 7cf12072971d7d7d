/*
 * The smallest monitor that boots the guests of fixtures/bare-metal, as C programmers write it: each exit is handled by the thread
 * that ran the vCPU. The benchmarks measure mvm against it, and the guests are tried under it.
 *
 *   reference-vmm [--memory MiB] [--cpus N] [--entry pvh|linux] [--cmdline TEXT] KERNEL
 *   reference-vmm --tsc-khz          prints the frequency of a guest's time-stamp counter
 *
 * Exit status: 0 the guest powered off or asked for a reset, 5 it crashed (a line on stderr says how), 1 anything else.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(call) ({ long result_ = (long)(call); if (result_ < 0) fail(#call); result_; })

/* Guest-physical addresses of what the boot protocols hand over. */
#define GDT 0x500
#define START_INFO 0x6000
#define MEMORY_MAP 0x6100
#define BOOT_PARAMS 0x7000
#define PAGE_MAP 0x9000
#define COMMAND_LINE 0x20000
#define EBDA 0x9fc00
#define HOLE 0xc0000000ull
#define FOUR_GIB 0x100000000ull

static int kvm, vm, serial_scratch, cpu_count = 1;
static int run_size;
static uint8_t *memory;
static uint64_t memory_size = 128ull << 20;
static pthread_mutex_t devices = PTHREAD_MUTEX_INITIALIZER;
static uint64_t pvh_entry, elf_entry;

static void fail(const char *what) {
  fprintf(stderr, "reference-vmm: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void add_slot(int slot, uint64_t guest, uint64_t offset, uint64_t size) {
  struct kvm_userspace_memory_region region = {.slot = slot, .guest_phys_addr = guest, .memory_size = size, .userspace_addr = (uintptr_t)memory + offset};
  CHECK(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
}

static void load(const char *path) {
  int fd = CHECK(open(path, O_RDONLY | O_CLOEXEC));
  struct stat status;
  CHECK(fstat(fd, &status));
  uint8_t *file = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (file == MAP_FAILED) fail(path);
  Elf64_Ehdr *header = (void *)file;
  elf_entry = header->e_entry;
  Elf64_Phdr *segment = (void *)(file + header->e_phoff);
  for (int i = 0; i < header->e_phnum; i++, segment++) {
    if (segment->p_type == PT_LOAD) memcpy(memory + segment->p_paddr, file + segment->p_offset, segment->p_filesz);
    if (segment->p_type == PT_NOTE) memcpy(&pvh_entry, file + segment->p_offset + 16, 8); /* the only note: Xen's */
  }
  munmap(file, status.st_size);
  close(fd);
}

/* One map for both protocols: type 1 is RAM. Returns the number of ranges. */
static int memory_map(uint64_t ranges[4][2]) {
  uint64_t low = memory_size < HOLE ? memory_size : HOLE;
  ranges[0][0] = 0, ranges[0][1] = EBDA;
  ranges[1][0] = 0x100000, ranges[1][1] = low - 0x100000;
  if (memory_size <= HOLE) return 2;
  ranges[2][0] = FOUR_GIB, ranges[2][1] = memory_size - HOLE;
  return 3;
}

static void set_up_boot(int fd, int pvh, const char *command_line) {
  uint64_t ranges[4][2];
  int count = memory_map(ranges);
  strcpy((char *)memory + COMMAND_LINE, command_line);
  struct kvm_sregs sregs;
  struct kvm_regs regs = {.rflags = 2};
  CHECK(ioctl(fd, KVM_GET_SREGS, &sregs));
  struct kvm_segment code = {.limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1};
  struct kvm_segment data = {.limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .g = 1, .db = 1};
  uint64_t *gdt = (void *)(memory + GDT);
  if (pvh) {
    struct { uint32_t magic, version, flags, modules; uint64_t modlist, cmdline, rsdp, memmap; uint32_t entries, reserved; }
      info = {.magic = 0x336ec578, .version = 1, .cmdline = COMMAND_LINE, .memmap = MEMORY_MAP, .entries = count};
    memcpy(memory + START_INFO, &info, sizeof info);
    for (int i = 0; i < count; i++) {
      memcpy(memory + MEMORY_MAP + 24 * i, ranges[i], 16);
      memory[MEMORY_MAP + 24 * i + 16] = 1;
    }
    code.db = 1;
    gdt[1] = 0x00cf9b000000ffff;
    sregs.cr0 = 0x11;
    regs.rip = pvh_entry;
    regs.rbx = START_INFO;
  } else {
    uint8_t *params = memory + BOOT_PARAMS;
    params[0x1e8] = count;
    *(uint32_t *)(params + 0x228) = COMMAND_LINE;
    for (int i = 0; i < count; i++) {
      memcpy(params + 0x2d0 + 20 * i, ranges[i], 16);
      params[0x2d0 + 20 * i + 16] = 1;
    }
    uint64_t *table = (void *)(memory + PAGE_MAP);
    table[0] = (PAGE_MAP + 0x1000) | 3;
    table[512] = (PAGE_MAP + 0x2000) | 3;
    for (uint64_t i = 0; i < 512; i++) table[1024 + i] = i << 21 | 0x83;
    code.l = 1;
    gdt[1] = 0x00af9b000000ffff;
    sregs.cr3 = PAGE_MAP;
    sregs.cr4 = 0x20;
    sregs.efer = 0x500;
    sregs.cr0 = 0x80000011;
    regs.rip = elf_entry;
    regs.rsi = BOOT_PARAMS;
  }
  gdt[2] = 0x00cf93000000ffff;
  sregs.gdt.base = GDT;
  sregs.gdt.limit = 23;
  sregs.cs = code;
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
  sregs.tr = (struct kvm_segment){.limit = 103, .type = 11, .present = 1};
  CHECK(ioctl(fd, KVM_SET_SREGS, &sregs));
  CHECK(ioctl(fd, KVM_SET_REGS, &regs));
}

static void port_write(uint16_t port, int size, const uint8_t *data, int count) {
  if (port == 0x3f8) {
    if (write(1, data, (size_t)size * count) < 0) exit(1);
    return;
  }
  if (port == 0x3ff) serial_scratch = data[size * count - 1];
  if (port == 0x600 && data[0] == 0x34) exit(0);
  if (port == 0x64 && data[0] == 0xfe) exit(0);
}

static void port_read(uint16_t port, int size, uint8_t *data, int count) {
  memset(data, 0xff, (size_t)size * count);
  if (port == 0x3fd) data[0] = 0x60; /* LSR: the transmitter is empty */
  if (port == 0x3ff) data[0] = (uint8_t)serial_scratch;
}

static void crash(int fd, int cpu, const char *what) {
  struct kvm_regs regs;
  struct kvm_sregs sregs;
  ioctl(fd, KVM_GET_REGS, &regs);
  ioctl(fd, KVM_GET_SREGS, &sregs);
  fprintf(stderr, "\nreference-vmm: cpu %d: %s at %x:%llx rflags %llx cr0 %llx cr2 %llx cr3 %llx rax %llx rcx %llx rsp %llx\n", cpu, what,
          sregs.cs.selector, regs.rip, regs.rflags, sregs.cr0, sregs.cr2, sregs.cr3, regs.rax, regs.rcx, regs.rsp);
  exit(5);
}

struct cpu {
  int number, fd;
  struct kvm_run *run;
};

static _Noreturn void *run_cpu(void *argument) {
  struct cpu *cpu = argument;
  struct kvm_run *run = cpu->run;
  for (;;) {
    if (ioctl(cpu->fd, KVM_RUN, 0) < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      fail("KVM_RUN");
    }
    switch (run->exit_reason) {
      case KVM_EXIT_IO: {
        uint8_t *data = (uint8_t *)run + run->io.data_offset;
        if (cpu_count > 1) pthread_mutex_lock(&devices);
        if (run->io.direction == KVM_EXIT_IO_OUT) port_write(run->io.port, run->io.size, data, run->io.count);
        else port_read(run->io.port, run->io.size, data, run->io.count);
        if (cpu_count > 1) pthread_mutex_unlock(&devices);
        break;
      }
      case KVM_EXIT_MMIO:
        if (!run->mmio.is_write) memset(run->mmio.data, 0xff, 8);
        break;
      case KVM_EXIT_SHUTDOWN: crash(cpu->fd, cpu->number, "triple fault"); break;
      case KVM_EXIT_INTERNAL_ERROR: {
        fprintf(stderr, "\nreference-vmm: internal error %u, %u words:", run->internal.suberror, run->internal.ndata);
        for (unsigned i = 0; i < run->internal.ndata && i < 16; i++) fprintf(stderr, " %llx", run->internal.data[i]);
        crash(cpu->fd, cpu->number, "internal error");
        break;
      }
      default: {
        char text[40];
        snprintf(text, sizeof text, "exit %u", run->exit_reason);
        crash(cpu->fd, cpu->number, text);
      }
    }
  }
}

static int print_tsc_khz(void) {
  kvm = CHECK(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  vm = CHECK(ioctl(kvm, KVM_CREATE_VM, 0));
  int fd = CHECK(ioctl(vm, KVM_CREATE_VCPU, 0));
  printf("%ld\n", CHECK(ioctl(fd, KVM_GET_TSC_KHZ, 0)));
  return 0;
}

int main(int count, char **arguments) {
  if (count == 2 && !strcmp(arguments[1], "--tsc-khz")) return print_tsc_khz();
  const char *command_line = "", *kernel = NULL;
  int pvh = 1;
  for (int i = 1; i < count; i++) {
    const char *next = i + 1 < count ? arguments[i + 1] : "";
    if (!strcmp(arguments[i], "--memory")) memory_size = strtoull(next, NULL, 10) << 20, i++;
    else if (!strcmp(arguments[i], "--cpus")) cpu_count = atoi(next), i++;
    else if (!strcmp(arguments[i], "--entry")) pvh = !strcmp(next, "pvh"), i++;
    else if (!strcmp(arguments[i], "--cmdline")) command_line = next, i++;
    else kernel = arguments[i];
  }
  if (!kernel) {
    fprintf(stderr, "usage: reference-vmm [--memory MiB] [--cpus N] [--entry pvh|linux] [--cmdline TEXT] KERNEL\n");
    return 2;
  }
  kvm = CHECK(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  vm = CHECK(ioctl(kvm, KVM_CREATE_VM, 0));
  memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  load(kernel);
  add_slot(0, 0, 0, memory_size < HOLE ? memory_size : HOLE);
  if (memory_size > HOLE) add_slot(1, FOUR_GIB, HOLE, memory_size - HOLE);
  CHECK(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000));
  uint64_t identity = 0xfffbc000;
  CHECK(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity));
  CHECK(ioctl(vm, KVM_CREATE_IRQCHIP, 0));
  struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
  CHECK(ioctl(vm, KVM_CREATE_PIT2, &pit));
  run_size = CHECK(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
  static struct { struct kvm_cpuid2 header; struct kvm_cpuid_entry2 entries[256]; } cpuid;
  cpuid.header.nent = 256;
  CHECK(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid));
  struct cpu *cpus = calloc(cpu_count, sizeof *cpus);
  for (int i = 0; i < cpu_count; i++) {
    cpus[i].number = i;
    cpus[i].fd = CHECK(ioctl(vm, KVM_CREATE_VCPU, i));
    cpus[i].run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpus[i].fd, 0);
    if (cpus[i].run == MAP_FAILED) fail("mmap");
    for (unsigned j = 0; j < cpuid.header.nent; j++) {
      struct kvm_cpuid_entry2 *entry = &cpuid.entries[j];
      if (entry->function == 1) entry->ebx = (entry->ebx & 0xffffff) | (uint32_t)i << 24;
      if (entry->function == 0xb || entry->function == 0x1f) entry->edx = i;
    }
    CHECK(ioctl(cpus[i].fd, KVM_SET_CPUID2, &cpuid));
  }
  set_up_boot(cpus[0].fd, pvh, command_line);
  for (int i = 1; i < cpu_count; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_cpu, &cpus[i])) fail("pthread_create");
  }
  run_cpu(&cpus[0]);
}
