/*
 * Starts commands and says when their first byte comes and when they end, with as little of its own in the way as can be.
 *
 *   launch ROUNDS COMMAND [ARGUMENT...] [-- COMMAND [ARGUMENT...]]...
 *
 * In each round every command runs once, one after the other, in an order that turns by one each round. Standard input is /dev/null,
 * standard output a pipe. A line for each: the command's number (from 0), nanoseconds from before posix_spawn to the first byte read
 * (-1 for none), to the end, and the exit status (128 + signal where a signal ended it).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_COMMANDS 16
extern char **environ;

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void fail(const char *what, int number) {
  fprintf(stderr, "launch: %s: %s\n", what, strerror(number));
  exit(1);
}

static void run(int number, char **command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) fail("pipe2", errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  pid_t child;
  int64_t start = now();
  int error = posix_spawnp(&child, command[0], &actions, NULL, command, environ);
  if (error) fail(command[0], error);
  close(ends[1]);
  static char buffer[65536];
  int64_t first = -1;
  for (;;) {
    ssize_t count = read(ends[0], buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    if (first < 0) first = now() - start;
  }
  close(ends[0]);
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) fail("waitpid", errno);
  int64_t end = now() - start;
  posix_spawn_file_actions_destroy(&actions);
  printf("%d %lld %lld %d\n", number, (long long)first, (long long)end, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  fflush(stdout);
}

int main(int count, char **arguments) {
  if (count < 3) {
    fprintf(stderr, "usage: launch ROUNDS COMMAND [ARGUMENT...] [-- COMMAND [ARGUMENT...]]...\n");
    return 2;
  }
  char **commands[MAX_COMMANDS];
  int number = 0;
  commands[number++] = arguments + 2;
  for (int i = 2; i < count; i++) {
    if (strcmp(arguments[i], "--")) continue;
    arguments[i] = NULL;
    if (number == MAX_COMMANDS) fail("commands", E2BIG);
    commands[number++] = arguments + i + 1;
  }
  int rounds = atoi(arguments[1]);
  for (int round = 0; round < rounds; round++)
    for (int i = 0; i < number; i++) run((round + i) % number, commands[(round + i) % number]);
  return 0;
}
