/*
 * Makes system calls under a seccomp filter and tells what became of each, without any of them taking effect.
 *
 * Beneath the filter under test lies another one that answers every call with GUARD. The kernel runs both and takes the
 * action of higher precedence (seccomp(2): KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, USER_NOTIF, TRACE, LOG, ALLOW), so what
 * the filter under test lets through returns -GUARD, and what it stops is stopped. Once both are installed nothing gets
 * through: results go to shared memory, the SIGSYS handler leaves by a jump, and the process ends by a fault.
 *
 * Input: u32 instructions, u32 cases, struct sock_filter[instructions], struct request[cases].
 * Output: u64 instruction pointer of the calls, struct outcome[cases].
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD 4000

struct request {
  uint32_t number;
  uint32_t compat; /* through the entry of i386: `int 0x80` */
  uint64_t args[6];
};

enum { NOT_MADE, RETURNED, TRAPPED, KILLED };

struct outcome {
  uint32_t kind;
  uint32_t signal; /* KILLED: which */
  int64_t result;  /* RETURNED */
  uint32_t data;   /* TRAPPED: si_errno, which is SECCOMP_RET_DATA */
  uint32_t number; /* TRAPPED: si_syscall */
  uint32_t arch;   /* TRAPPED: si_arch */
  uint32_t reserved;
};

struct shared {
  volatile uint32_t next;
  volatile uint32_t installed;
  struct outcome outcomes[];
};

static struct shared *shared;
static sigjmp_buf resume;

static void on_sigsys(int signal, siginfo_t *info, void *context) {
  (void)signal;
  (void)context;
  struct outcome *outcome = &shared->outcomes[shared->next];
  outcome->kind = TRAPPED;
  outcome->data = info->si_errno;
  outcome->number = info->si_syscall;
  outcome->arch = info->si_arch;
  siglongjmp(resume, 1);
}

long call_native(const struct request *request);
extern const char after_call[];
__asm__(".text\n"
        ".globl call_native, after_call\n"
        "call_native:\n"
        "  mov (%rdi), %eax\n"
        "  mov 16(%rdi), %rsi\n"
        "  mov 24(%rdi), %rdx\n"
        "  mov 32(%rdi), %r10\n"
        "  mov 40(%rdi), %r8\n"
        "  mov 48(%rdi), %r9\n"
        "  mov 8(%rdi), %rdi\n"
        "  syscall\n"
        "after_call:\n"
        "  ret\n"
        "call_compat:\n"
        "  push %rbx\n"
        "  push %rbp\n"
        "  mov (%rdi), %eax\n"
        "  mov 8(%rdi), %ebx\n"
        "  mov 16(%rdi), %ecx\n"
        "  mov 24(%rdi), %edx\n"
        "  mov 32(%rdi), %esi\n"
        "  mov 48(%rdi), %ebp\n"
        "  mov 40(%rdi), %edi\n"
        "  int $0x80\n"
        "  movslq %eax, %rax\n"
        "  pop %rbp\n"
        "  pop %rbx\n"
        "  ret\n");
long call_compat(const struct request *request);

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void confine(struct sock_fprog *tested) {
  uint64_t address = (uintptr_t)tested;
  struct sock_filter guard[] = {
      /* All but prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, tested). */
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 157, 0, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_SECCOMP, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)address, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]) + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, address >> 32, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | GUARD),
  };
  struct sock_fprog program = {sizeof guard / sizeof *guard, guard};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("PR_SET_NO_NEW_PRIVS");
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) fail("the guard");
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, tested) == 0) shared->installed = 1;
}

static void make_calls(struct sock_fprog *tested, const struct request *requests, uint32_t count) {
  struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSYS, &action, NULL);
  confine(tested);
  if (!shared->installed) __builtin_trap();
  for (;;) {
    if (sigsetjmp(resume, 0)) shared->next++;
    if (shared->next == count) __builtin_trap();
    const struct request *request = &requests[shared->next];
    long result = request->compat ? call_compat(request) : call_native(request);
    shared->outcomes[shared->next].result = result;
    shared->outcomes[shared->next].kind = RETURNED;
    shared->next++;
  }
}

static void read_all(void *to, size_t size) {
  if (fread(to, 1, size, stdin) != size) {
    fputs("the input is too short\n", stderr);
    exit(1);
  }
}

int main(void) {
  uint32_t header[2];
  read_all(header, sizeof header);
  struct sock_fprog tested = {header[0], calloc(header[0] + 1, sizeof(struct sock_filter))};
  uint32_t count = header[1];
  struct request *requests = calloc(count + 1, sizeof *requests);
  read_all(tested.filter, header[0] * sizeof(struct sock_filter));
  read_all(requests, count * sizeof *requests);
  size_t size = sizeof *shared + count * sizeof(struct outcome);
  shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) fail("mmap");
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  /* A call that kills takes its process along: the next goes on after it. */
  while (shared->next < count) {
    shared->installed = 0;
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) make_calls(&tested, requests, count);
    int status;
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    if (!shared->installed) {
      fputs("the kernel refuses the filter\n", stderr);
      return 2;
    }
    if (shared->next == count) break;
    shared->outcomes[shared->next].kind = KILLED;
    shared->outcomes[shared->next].signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    shared->next++;
  }
  uint64_t pointer = (uintptr_t)after_call;
  fwrite(&pointer, sizeof pointer, 1, stdout);
  fwrite(shared->outcomes, sizeof(struct outcome), count, stdout);
  return fflush(stdout) != 0;
}
