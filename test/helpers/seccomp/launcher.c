// Runs a program under a seccomp filter: a file of struct sock_filter[], then the program and its arguments.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

static struct sock_filter code[BPF_MAXINSNS];

int main(int argc, char **argv) {
  if (argc < 3) return 1;
  FILE *file = fopen(argv[1], "rb");
  if (file == NULL) {
    perror(argv[1]);
    return 1;
  }
  struct sock_fprog program = {fread(code, sizeof *code, BPF_MAXINSNS, file), code};
  fclose(file);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
    perror("seccomp");
    return 1;
  }
  execv(argv[2], argv + 2);
  perror(argv[2]);
  return 1;
}
