/*
 * The host's end of vsock connections with a guest: sockets as Firecracker has them.
 *
 *   vsock-peer connect PATH PORT ORDER FIRST COUNT BYTES   asks at PATH for COUNT connections with the guest's PORT, all at once
 *   vsock-peer listen PATH ORDER FIRST COUNT BYTES         waits at PATH (`uds_path_PORT`) for as many
 *
 * On each, both ends send BYTES bytes (streams.h), in one of the orders of `enum stream_order`, and half-close. The host's streams have numbers
 * from FIRST on. Says `ready` when it listens, or has asked; prints what came; fails where a connection ends early.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "streams.h"

#define CHUNK 65536

struct connection {
  int fd;
  uint64_t name, sent;
  struct stream_reader reader;
  char answer[32]; /* to CONNECT, up to its newline */
  size_t answered;
  bool open, read_ended, write_ended;
};

static struct connection *connections;
static struct pollfd *fds;
static struct stream_set came = {.base = GUEST_STREAM};
static int count, order;
static uint64_t bytes, total;

static void fail(const char *what) {
  fprintf(stderr, "vsock-peer: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct sockaddr_un address_of(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) fail(path);
  strcpy(address.sun_path, path);
  return address;
}

static void add(int index, int fd, uint64_t number, bool open) {
  fcntl(fd, F_SETFL, O_NONBLOCK);
  connections[index] = (struct connection){.fd = fd, .name = HOST_STREAM + number, .open = open};
}

/* Reads the answer to CONNECT, a byte at a time: what is behind it is the guest's. */
static void read_answer(struct connection *connection) {
  char *answer = connection->answer;
  while (connection->answered + 1 < sizeof connection->answer) {
    ssize_t got = read(connection->fd, answer + connection->answered, 1);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) fail("a connection was refused");
    if (answer[connection->answered++] != '\n') continue;
    if (strncmp(answer, "OK ", 3)) fail(answer);
    connection->open = true;
    return;
  }
  fail(answer);
}

static void read_some(struct connection *connection) {
  static uint8_t buffer[CHUNK];
  ssize_t got = read(connection->fd, buffer, sizeof buffer);
  if (got < 0 && errno == EAGAIN) return;
  if (got < 0) fail("cannot read");
  if (got == 0) {
    connection->read_ended = true;
    stream_set_add(&came, &connection->reader, bytes);
    total += connection->reader.length;
    return;
  }
  stream_take(&connection->reader, buffer, (size_t)got);
}

static bool may_send(const struct connection *connection) {
  return connection->open && !connection->write_ended && (order != GUEST_FIRST || connection->read_ended);
}

static void send_some(struct connection *connection) {
  static uint8_t buffer[CHUNK];
  uint64_t left = bytes - connection->sent;
  size_t length = left < CHUNK ? left : CHUNK;
  stream_make(connection->name, connection->sent, buffer, length);
  ssize_t sent = send(connection->fd, buffer, length, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) fail("cannot write");
  if (sent > 0) connection->sent += (uint64_t)sent;
  if (connection->sent < bytes) return;
  shutdown(connection->fd, SHUT_WR);
  connection->write_ended = true;
}

int main(int argc, char **argv) {
  bool connects = argc == 8 && !strcmp(argv[1], "connect");
  if (!connects && !(argc == 7 && !strcmp(argv[1], "listen"))) {
    fprintf(stderr, "usage: vsock-peer connect PATH PORT ORDER FIRST COUNT BYTES | listen PATH ORDER FIRST COUNT BYTES\n");
    return 2;
  }
  char **rest = argv + (connects ? 4 : 3);
  struct sockaddr_un address = address_of(argv[2]);
  order = atoi(rest[0]);
  uint64_t first = strtoull(rest[1], NULL, 10);
  count = atoi(rest[2]);
  bytes = strtoull(rest[3], NULL, 10);
  connections = calloc((size_t)count, sizeof *connections);
  fds = calloc((size_t)count, sizeof *fds);

  int listener = -1;
  if (!connects) {
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) fail(argv[2]);
  }
  for (int i = 0; i < count && connects; i++) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (void *)&address, sizeof address)) fail(argv[2]);
    if (dprintf(fd, "CONNECT %s\n", argv[3]) < 0) fail("cannot ask");
    add(i, fd, first + (uint64_t)i, false);
  }
  printf("ready\n");
  fflush(stdout);
  /* Nothing is sent before all are there: so many connections at once. */
  for (int i = 0; i < count && !connects; i++) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) fail("cannot accept");
    add(i, fd, first + (uint64_t)i, true);
  }
  for (int i = 0; i < count && connects; i++) {
    struct pollfd answer = {.fd = connections[i].fd, .events = POLLIN};
    while (!connections[i].open) {
      poll(&answer, 1, -1);
      read_answer(&connections[i]);
    }
  }

  for (int left = count; left > 0;) {
    for (int i = 0; i < count; i++) {
      const struct connection *connection = &connections[i];
      fds[i].fd = connection->fd;
      fds[i].events = (short)((connection->read_ended ? 0 : POLLIN) | (may_send(connection) ? POLLOUT : 0));
      if (!fds[i].events) fds[i].fd = -1;
    }
    poll(fds, (nfds_t)count, -1);
    for (int i = 0; i < count; i++) {
      struct connection *connection = &connections[i];
      if (fds[i].revents & (POLLIN | POLLHUP | POLLERR) && !connection->read_ended) read_some(connection);
      if (fds[i].revents & POLLOUT && may_send(connection)) send_some(connection);
      if (!connection->read_ended || !connection->write_ended || connection->fd < 0) continue;
      close(connection->fd);
      connection->fd = -1;
      left--;
    }
  }
  printf("connections=%lu bytes=%lu wrong=%lu\n", came.count, total, came.wrong);
  return 0;
}
