// The upstream of the comparison: answers every HTTP/1.1 request with 200 and a body of a given size.
//
// usage: upstream PORT BYTES
//
// It reads requests with Content-Length or without a body, one after another on each connection, and prints nothing.
// One thread, epoll, so that it costs as little as an upstream can.

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

enum { HEAD = 8192 };

struct client {
  int socket;
  size_t head_bytes;   // of a head that has come in part
  size_t body_left;    // of a request's body
  size_t answers_due;  // whole requests that are not answered
  size_t written;      // of the answer that is under way
  char head[HEAD];
};

static char *answer;
static size_t answer_bytes;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int listen_on(int port) {
  int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (socket_ < 0) fail("socket");
  setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(socket_, (struct sockaddr *)&at, sizeof at) || listen(socket_, 1024)) fail("listen");
  return socket_;
}

static size_t length_of(const char *head) {
  const char *line = strcasestr(head, "\r\ncontent-length:");
  return line ? strtoull(line + 17, NULL, 10) : 0;
}

// Takes requests out of what was read; -1 where they are none.
static int take(struct client *c, const char *bytes, size_t count) {
  while (count > 0) {
    if (c->body_left > 0) {
      size_t here = c->body_left < count ? c->body_left : count;
      c->body_left -= here, bytes += here, count -= here;
      if (c->body_left == 0) c->answers_due++;
      continue;
    }
    size_t room = HEAD - 1 - c->head_bytes, here = count < room ? count : room;
    if (here == 0) return -1;
    size_t before = c->head_bytes;
    memcpy(c->head + before, bytes, here);
    c->head[before + here] = 0;
    char *end = strstr(c->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
    if (!end) {
      c->head_bytes += here;
      return 0;
    }
    size_t used = end + 4 - c->head - before;
    end[2] = 0;
    bytes += used, count -= used, c->head_bytes = 0;
    c->body_left = length_of(c->head);
    if (c->body_left == 0) c->answers_due++;
  }
  return 0;
}

// Writes what is due; -1 where the client has gone.
static int give(struct client *c) {
  while (c->answers_due > 0) {
    ssize_t sent = send(c->socket, answer + c->written, answer_bytes - c->written, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    c->written += sent;
    if (c->written == answer_bytes) c->written = 0, c->answers_due--;
  }
  return 0;
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: upstream PORT BYTES\n");
    return 2;
  }
  size_t body = strtoull(arguments[2], NULL, 10);
  answer = malloc(body + 256);
  answer_bytes = sprintf(answer, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n", body);
  memset(answer + answer_bytes, 'x', body);
  answer_bytes += body;

  int listening = listen_on(atoi(arguments[1])), poll = epoll_create1(0), on = 1;
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
  epoll_ctl(poll, EPOLL_CTL_ADD, listening, &event);
  static char bytes[1 << 18];
  for (;;) {
    int events = epoll_wait(poll, ready, 256, -1);
    for (int i = 0; i < events; i++) {
      struct client *c = ready[i].data.ptr;
      if (!c) {
        int accepted = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
        if (accepted < 0) continue;
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        c = calloc(1, sizeof *c);
        c->socket = accepted;
        event = (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        epoll_ctl(poll, EPOLL_CTL_ADD, accepted, &event);
        continue;
      }
      ssize_t got = 0;
      int gone = 0;
      while (!gone && (got = recv(c->socket, bytes, sizeof bytes, 0)) > 0) {
        gone = take(c, bytes, got) || give(c);
        if ((size_t)got < sizeof bytes) break;
      }
      if (gone || got == 0 || (got < 0 && errno != EAGAIN) || give(c)) {
        close(c->socket);
        free(c);
      }
    }
  }
}
