// The floor of the comparison: hands bytes from each client on to the upstream, and back, and looks at none of them.
//
// usage: floor PORT UPSTREAM_PORT
//
// What it costs is what any proxy in user space has to pay for sockets: two reads, two writes and the waiting.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// One direction of a pair: what is read from `from` goes to the other's `from`.
struct side {
  int from;
  struct side *other;
  char *waiting;  // read from here, and not taken by the other side
  size_t waiting_bytes;
};

static int poll_;
static struct sockaddr_in upstream = {.sin_family = AF_INET};

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void watch(struct side *side) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = side};
  epoll_ctl(poll_, EPOLL_CTL_ADD, side->from, &event);
}

static void pair_with_upstream(int client) {
  int on = 1, server = socket(AF_INET, SOCK_STREAM, 0);
  if (server < 0 || connect(server, (struct sockaddr *)&upstream, sizeof upstream)) fail("connect");
  struct side *sides = calloc(2, sizeof *sides);
  int sockets[2] = {client, server};
  for (int i = 0; i < 2; i++) {
    setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sides[i].from = sockets[i];
    sides[i].other = &sides[1 - i];
  }
  for (int i = 0; i < 2; i++) watch(&sides[i]);
}

// Moves what can be moved in one direction; -1 where it has ended.
static int move(struct side *side) {
  static char bytes[1 << 18];
  for (;;) {
    if (side->waiting_bytes > 0) {
      ssize_t sent = send(side->other->from, side->waiting, side->waiting_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) return errno == EAGAIN ? 0 : -1;
      side->waiting_bytes -= sent;
      memmove(side->waiting, side->waiting + sent, side->waiting_bytes);
      continue;
    }
    ssize_t got = recv(side->from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    ssize_t sent = send(side->other->from, bytes, got, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent < 0) sent = 0;
    if (sent < got) {
      side->waiting = realloc(side->waiting, got - sent);
      memcpy(side->waiting, bytes + sent, got - sent);
      side->waiting_bytes = got - sent;
    }
    if ((size_t)got < sizeof bytes && side->waiting_bytes == 0) return 0;
  }
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: floor PORT UPSTREAM_PORT\n");
    return 2;
  }
  upstream.sin_port = htons(atoi(arguments[2]));
  upstream.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  struct sockaddr_in at = upstream;
  at.sin_port = htons(atoi(arguments[1]));
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listening, (struct sockaddr *)&at, sizeof at) || listen(listening, 1024)) fail("listen");
  poll_ = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
  epoll_ctl(poll_, EPOLL_CTL_ADD, listening, &event);
  for (;;) {
    int events = epoll_wait(poll_, ready, 256, -1);
    for (int i = 0; i < events; i++) {
      struct side *side = ready[i].data.ptr;
      if (!side) {
        int accepted = accept4(listening, NULL, NULL, 0);
        if (accepted >= 0) pair_with_upstream(accepted);
        continue;
      }
      if (side->from < 0) continue;
      int ended = (ready[i].events & EPOLLIN) ? move(side) : 0;
      if (!ended && (ready[i].events & EPOLLOUT) && side->other->waiting_bytes > 0) ended = move(side->other);
      if (ended) {
        // Events of this round may still name either side, so the memory stays; a run has few connections.
        close(side->from), close(side->other->from);
        side->from = side->other->from = -1;
      }
    }
  }
}
