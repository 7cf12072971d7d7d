/*
 * The host's end of a network whose other end is a guest: raw frames on the network device INTERFACE (packet(7)).
 *
 *   net-peer INTERFACE fill COUNT LENGTH         sends COUNT frames as fast as they are taken, says so, and ends
 *   net-peer INTERFACE echo                      sends back what asks for it
 *   net-peer INTERFACE transfer OUT IN LENGTH    sends OUT frames and takes IN frames, each checked, none lost (frames.h)
 *
 * echo and transfer say `ready`, and end with their standard input. What goes out passes no queueing discipline (PACKET_QDISC_BYPASS): where the device's
 * own queue is full, the system call says so (ENOBUFS), and the frame is sent again, so that nothing is lost here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "frames.h"

#define BATCH 64
#define FRAME_ROOM 65600
#define SOCKET_BUFFER (64 << 20)
#define PATIENCE_NS 2000000000

static const uint8_t guest_mac[6] = GUEST_MAC, host_mac[6] = HOST_MAC;
static uint8_t out[BATCH][FRAME_ROOM], in[BATCH][FRAME_ROOM];
static struct iovec out_pieces[BATCH], in_pieces[BATCH];
static struct mmsghdr out_messages[BATCH], in_messages[BATCH];

static void fail(const char *what) {
  fprintf(stderr, "net-peer: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int open_socket(const char *interface) {
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("cannot open a packet socket");
  int one = 1, size = SOCKET_BUFFER;
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = FRAME_ETHERTYPE, .sll_ifindex = (int)if_nametoindex(interface)};
  if (!address.sll_ifindex || bind(fd, (void *)&address, sizeof address)) fail(interface);
  for (int i = 0; i < BATCH; i++) {
    out_pieces[i].iov_base = out[i];
    out_messages[i].msg_hdr.msg_iov = &out_pieces[i];
    out_messages[i].msg_hdr.msg_iovlen = 1;
    in_pieces[i] = (struct iovec){in[i], FRAME_ROOM};
    in_messages[i].msg_hdr.msg_iov = &in_pieces[i];
    in_messages[i].msg_hdr.msg_iovlen = 1;
  }
  return fd;
}

/* The frame that is `index` in the batch, to be made. */
static struct test_frame *to_send(int index, uint32_t length) {
  out_pieces[index].iov_len = length;
  return (struct test_frame *)out[index];
}

/* Sends the batch's frames `from` up to `to`. Returns how many of them the device has taken. */
static int send_some(int fd, int from, int to) {
  int sent = sendmmsg(fd, out_messages + from, (unsigned)(to - from), 0);
  if (sent >= 0) return sent;
  if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR) fail("cannot send");
  return 0;
}

/* Sends all of the batch's first `count` frames. */
static void send_all(int fd, int count) {
  for (int sent = 0; sent < count;) {
    int taken = send_some(fd, sent, count);
    sent += taken;
    if (!taken) usleep(20);
  }
}

/* Takes frames that are there. Returns how many. */
static int receive_some(int fd) {
  int count = recvmmsg(fd, in_messages, BATCH, MSG_DONTWAIT, NULL);
  if (count >= 0) return count;
  if (errno != EAGAIN && errno != EINTR && errno != ENETDOWN) fail("cannot receive");
  return 0;
}

/* Sleeps until a frame comes. Returns false when standard input has ended. */
static bool wait_for_frame(int fd, int milliseconds) {
  struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  poll(fds, 2, milliseconds);
  char rest[64];
  return !(fds[1].revents && read(0, rest, sizeof rest) <= 0);
}

static void fill(int fd, uint64_t total, uint32_t length) {
  for (uint64_t number = 0; number < total;) {
    int count = 0;
    for (; count < BATCH && number < total; count++) frame_make(to_send(count, length), guest_mac, host_mac, FRAME_DATA, number++, length);
    send_all(fd, count);
  }
  printf("filled\n");
}

static void say_ready(void) {
  printf("ready\n");
  fflush(stdout);
}

static void echo(int fd) {
  say_ready();
  do {
    int count;
    while ((count = receive_some(fd)) > 0) {
      int answers = 0;
      for (int i = 0; i < count; i++) {
        uint32_t length = in_messages[i].msg_len;
        struct test_frame *frame = (struct test_frame *)in[i];
        if (!frame_is_ours(frame, length) || frame->kind != FRAME_ECHO) continue;
        struct test_frame *answer = to_send(answers++, length);
        memcpy(answer, frame, length);
        memcpy(answer->to, frame->from, 6);
        memcpy(answer->from, host_mac, 6);
      }
      send_all(fd, answers);
    }
  } while (wait_for_frame(fd, -1));
}

static void print_transfer(int fd, const struct frame_sender *sender, const struct frame_receiver *receiver) {
  struct tpacket_stats lost = {0};
  socklen_t size = sizeof lost;
  getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &lost, &size);
  printf("sent=%lu resent=%lu received=%lu bytes=%lu wrong=%lu repeat=%lu lost=%u\n", sender->acknowledged, sender->resent,
         receiver->expected, receiver->bytes, receiver->wrong, receiver->repeat, lost.tp_drops);
  fflush(stdout);
}

static void transfer(int fd, uint64_t sends, uint64_t takes, uint32_t length) {
  say_ready();
  struct frame_sender sender = {.total = sends, .progress = now()};
  struct frame_receiver receiver = {.total = takes};
  bool printed = false;
  int made = 0, given = 0; /* frames of the batch, and those that the device has taken */
  for (;;) {
    uint64_t time = now();
    int received = receive_some(fd);
    for (int i = 0; i < received; i++) {
      const struct test_frame *frame = (const struct test_frame *)in[i];
      uint32_t size = in_messages[i].msg_len;
      if (!frame_is_ours(frame, size)) continue;
      if (frame->kind == FRAME_DATA) receiver_take(&receiver, frame, size);
      else if (!frame_is_whole(frame, size)) receiver.wrong++;
      else if (frame->kind == FRAME_ACKNOWLEDGE) sender_acknowledged(&sender, frame->number, time);
    }
    if (given == made) {
      made = given = 0;
      if (receiver_should_answer(&receiver, received == 0)) {
        frame_make(to_send(made++, SHORTEST_FRAME), guest_mac, host_mac, FRAME_ACKNOWLEDGE, receiver.expected, SHORTEST_FRAME);
        receiver_answered(&receiver);
      }
      while (made < BATCH && sender_may_send(&sender, time, PATIENCE_NS)) {
        frame_make(to_send(made++, length), guest_mac, host_mac, FRAME_DATA, sender.next++, length);
      }
    }
    int taken = given < made ? send_some(fd, given, made) : 0;
    given += taken;
    if (!printed && sender_is_done(&sender) && receiver_is_done(&receiver)) {
      print_transfer(fd, &sender, &receiver);
      printed = true;
    }
    if (received == 0 && taken == 0 && !wait_for_frame(fd, given < made ? 1 : 20)) return;
  }
}

int main(int argc, char **argv) {
  const char *mode = argc > 2 ? argv[2] : "";
  if (argc == 5 && !strcmp(mode, "fill")) fill(open_socket(argv[1]), strtoull(argv[3], NULL, 10), (uint32_t)atoi(argv[4]));
  else if (argc == 3 && !strcmp(mode, "echo")) echo(open_socket(argv[1]));
  else if (argc == 6 && !strcmp(mode, "transfer")) {
    transfer(open_socket(argv[1]), strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), (uint32_t)atoi(argv[5]));
  } else {
    fprintf(stderr, "usage: net-peer INTERFACE fill COUNT LENGTH | echo | transfer OUT IN LENGTH\n");
    return 2;
  }
  return 0;
}
