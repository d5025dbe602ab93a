// The gRPC upstream of the comparison: answers every call over HTTP/2, by prior knowledge, with one message of a given size.
//
// usage: grpc PORT BYTES
//
// It reads no header: that a stream ended is all that it needs to know. One thread, epoll, like upstream.c.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PREFACE = 24, FRAME_HEAD = 9, LONGEST_FRAME = 16384, READ = 1 << 18, WINDOW_STEP = 1 << 14 };
enum { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

struct client {
  int socket, greeted;
  uint32_t taken;  // bytes of DATA that the client was not told about
  uint8_t *in, *out;
  size_t in_bytes, out_bytes, out_room;
};

static uint8_t *message;
static size_t message_bytes;

// `:status: 200` of the static table, and two headers that are named in full.
static const uint8_t HEAD[] = "\x88\x5f\x10" "application/grpc";
static const uint8_t TRAILERS[] = "\x00\x0b" "grpc-status" "\x01" "0";

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void frame(struct client *c, int type, int flags, uint32_t stream, const void *content, size_t bytes) {
  if (c->out_room < c->out_bytes + FRAME_HEAD + bytes) {
    c->out_room = 2 * (c->out_bytes + FRAME_HEAD + bytes);
    c->out = realloc(c->out, c->out_room);
  }
  uint8_t *to = c->out + c->out_bytes;
  uint8_t head[FRAME_HEAD] = {bytes >> 16, bytes >> 8, bytes, type, flags, stream >> 24, stream >> 16, stream >> 8, stream};
  memcpy(to, head, FRAME_HEAD);
  memcpy(to + FRAME_HEAD, content, bytes);
  c->out_bytes += FRAME_HEAD + bytes;
}

static void answer(struct client *c, uint32_t stream) {
  frame(c, HEADERS, END_HEADERS, stream, HEAD, sizeof HEAD - 1);
  frame(c, DATA, 0, stream, message, message_bytes);
  frame(c, HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS, sizeof TRAILERS - 1);
}

static void take_frame(struct client *c, int type, int flags, uint32_t stream, const uint8_t *content, size_t bytes) {
  if (type == SETTINGS && !(flags & ACK)) frame(c, SETTINGS, ACK, 0, "", 0);
  if (type == PING && !(flags & ACK)) frame(c, PING, ACK, 0, content, bytes);
  if (type == DATA) {
    c->taken += bytes;
    if (c->taken > WINDOW_STEP) {
      uint8_t more[4] = {c->taken >> 24, c->taken >> 16, c->taken >> 8, c->taken};
      frame(c, WINDOW_UPDATE, 0, 0, more, sizeof more);
      c->taken = 0;
    }
  }
  if ((type == DATA || type == HEADERS) && (flags & END_STREAM)) answer(c, stream);
}

// Takes whole frames out of what was read; -1 where they are none.
static int take(struct client *c) {
  size_t at = 0;
  if (!c->greeted) {
    if (c->in_bytes < PREFACE) return 0;
    if (memcmp(c->in, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", PREFACE)) return -1;
    at = PREFACE, c->greeted = 1;
    frame(c, SETTINGS, 0, 0, "", 0);
  }
  while (c->in_bytes - at >= FRAME_HEAD) {
    const uint8_t *head = c->in + at;
    size_t bytes = head[0] << 16 | head[1] << 8 | head[2];
    if (bytes > LONGEST_FRAME) return -1;
    if (c->in_bytes - at < FRAME_HEAD + bytes) break;
    uint32_t stream = (uint32_t)(head[5] & 0x7f) << 24 | head[6] << 16 | head[7] << 8 | head[8];
    take_frame(c, head[3], head[4], stream, head + FRAME_HEAD, bytes);
    at += FRAME_HEAD + bytes;
  }
  c->in_bytes -= at;
  memmove(c->in, c->in + at, c->in_bytes);
  return 0;
}

// Writes what is due; -1 where the client has gone.
static int give(struct client *c) {
  size_t written = 0;
  while (written < c->out_bytes) {
    ssize_t sent = send(c->socket, c->out + written, c->out_bytes - written, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent < 0) break;
    written += sent;
  }
  c->out_bytes -= written;
  memmove(c->out, c->out + written, c->out_bytes);
  return 0;
}

static void welcome(int poll, int accepted) {
  int on = 1;
  setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct client *c = calloc(1, sizeof *c);
  c->socket = accepted;
  c->in = malloc(READ + FRAME_HEAD + LONGEST_FRAME);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
  epoll_ctl(poll, EPOLL_CTL_ADD, accepted, &event);
}

static void serve(struct client *c) {
  int gone = 0;
  for (;;) {
    size_t room = READ + FRAME_HEAD + LONGEST_FRAME - c->in_bytes;
    ssize_t got = recv(c->socket, c->in + c->in_bytes, room, 0);
    if (got <= 0) {
      gone = got == 0 || errno != EAGAIN;
      break;
    }
    c->in_bytes += got;
    gone = take(c) || give(c);
    if (gone || (size_t)got < room) break;
  }
  if (gone || give(c)) {
    close(c->socket);
    free(c->in), free(c->out), free(c);
  }
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: grpc PORT BYTES\n");
    return 2;
  }
  size_t bytes = strtoull(arguments[2], NULL, 10);
  if (bytes + 5 > LONGEST_FRAME) return 2;
  message_bytes = bytes + 5;
  message = calloc(1, message_bytes);
  message[3] = bytes >> 8, message[4] = bytes;
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0), on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listening, (struct sockaddr *)&at, sizeof at) || listen(listening, 1024)) fail("listen");
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
  epoll_ctl(poll, EPOLL_CTL_ADD, listening, &event);
  for (;;) {
    int events = epoll_wait(poll, ready, 256, -1);
    for (int i = 0; i < events; i++) {
      if (ready[i].data.ptr) {
        serve(ready[i].data.ptr);
        continue;
      }
      int accepted = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
      if (accepted >= 0) welcome(poll, accepted);
    }
  }
}
