// The load of the comparison over HTTP/1.1: at a fixed rate, whatever the server does, or one request after another.
//
// usage: load [-c CONNECTIONS] [-r RATE] [-s SECONDS] [-n REQUESTS] [-d SKIPPED_SECONDS] [-b BODY_BYTES] [-f CREDENTIALS] [-x HEADER] [-e STATUS] PORT PATH
//
// With a rate, each request has a moment at which it is due, and its time counts from there: one that waits because the
// server is slow is not forgotten. Without, each connection sends its next request when it has the answer. A line of the
// file of credentials is the value of Authorization; each is used in turn, and with -n 0 each once. Prints one JSON
// object: percentiles of a histogram with 128 steps to each doubling, all in all and for each second.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16384, STEPS = 128, BUCKETS = 40 * STEPS, LONGEST_RUN = 600 };

struct histogram {
  uint64_t count, highest, buckets[BUCKETS];
};

struct connection {
  int socket;
  uint64_t due;  // of the request under way, ns
  int busy;
  size_t sent, head_bytes, body_left;
  int in_body, status;
  char *request;
  size_t request_bytes;
  char head[HEAD];
};

static struct sockaddr_in server = {.sin_family = AF_INET};
static struct histogram all, *seconds_;
static struct connection *connections, **idle;
static int poll_, idle_count, connection_count = 64, expected = 200;
static uint64_t begun, measured_from, answered, wrong, started, reconnected;
static char **credentials;
static size_t credential_count, next_credential;
static const char *path, *extra = "";
static char *body;
static size_t body_bytes;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1000000000ull + at.tv_nsec;
}

// Exact below 256 ns; above, the bucket is at most 1/128 wide.
static size_t bucket_of(uint64_t value) {
  if (value < 2 * STEPS) return value;
  int shift = 63 - __builtin_clzll(value) - 7;
  size_t bucket = (size_t)shift * STEPS + (value >> shift);
  return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double highest_of(size_t bucket) {
  if (bucket < 2 * STEPS) return bucket;
  size_t shift = bucket / STEPS - 1;
  return (double)(((bucket - shift * STEPS + 1) << shift) - 1);
}

static void note(struct histogram *to, uint64_t value) {
  to->count++;
  if (value > to->highest) to->highest = value;
  to->buckets[bucket_of(value)]++;
}

static double percentile(const struct histogram *of, double share) {
  uint64_t wanted = (uint64_t)(share * of->count + 0.5), seen = 0;
  for (size_t i = 0; i < BUCKETS; i++) {
    seen += of->buckets[i];
    if (seen >= wanted && seen > 0) return highest_of(i) / 1e3;
  }
  return 0;
}

static void connect_to_server(struct connection *c) {
  int on = 1;
  c->socket = socket(AF_INET, SOCK_STREAM, 0);
  if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&server, sizeof server)) fail("connect");
  fcntl(c->socket, F_SETFL, O_NONBLOCK);
  setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
  epoll_ctl(poll_, EPOLL_CTL_ADD, c->socket, &event);
}

// Writes what is left of a request; -1 where the connection has ended.
static int give(struct connection *c) {
  while (c->busy && c->sent < c->request_bytes) {
    ssize_t sent = send(c->socket, c->request + c->sent, c->request_bytes - c->sent, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    c->sent += sent;
  }
  return 0;
}

static void begin(struct connection *c, uint64_t due) {
  const char *credential = credential_count ? credentials[next_credential++ % credential_count] : "none";
  size_t room = strlen(credential) + strlen(extra) + strlen(path) + body_bytes + 512;
  c->request = realloc(c->request, room);
  int head = snprintf(c->request, room, "%s %s HTTP/1.1\r\nhost: bench\r\nauthorization: %s\r\n%s%s", body_bytes ? "POST" : "GET",
                      path, credential, extra, *extra ? "\r\n" : "");
  if (body_bytes)
    head += snprintf(c->request + head, room - head, "content-type: application/json\r\ncontent-length: %zu\r\n", body_bytes);
  head += snprintf(c->request + head, room - head, "\r\n");
  memcpy(c->request + head, body, body_bytes);
  c->request_bytes = head + body_bytes;
  c->sent = c->head_bytes = c->body_left = 0;
  c->in_body = 0, c->busy = 1, c->due = due;
  started++;
  give(c);
}

static void over(struct connection *c, int as_wanted) {
  uint64_t at = now();
  c->busy = 0;
  if (c->due < measured_from) return;
  if (!as_wanted) {
    wrong++;
    return;
  }
  answered++;
  note(&all, at - c->due);
  uint64_t second = (c->due - measured_from) / 1000000000ull;
  if (second < LONGEST_RUN) note(&seconds_[second], at - c->due);
}

// Takes what was read of an answer; -1 where it is none.
static int take(struct connection *c, const char *bytes, size_t count) {
  while (count > 0 && c->busy) {
    if (!c->in_body) {
      size_t room = HEAD - 1 - c->head_bytes, here = count < room ? count : room, before = c->head_bytes;
      if (here == 0) return -1;
      memcpy(c->head + before, bytes, here);
      c->head[before + here] = 0;
      char *end = strstr(c->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
      if (!end) {
        c->head_bytes += here;
        return 0;
      }
      size_t used = end + 4 - c->head - before;
      end[2] = 0;
      bytes += used, count -= used;
      const char *line = strcasestr(c->head, "\r\ncontent-length:");
      c->body_left = line ? strtoull(line + 17, NULL, 10) : 0;
      c->status = atoi(c->head + 9);
      c->in_body = 1;
    }
    size_t here = c->body_left < count ? c->body_left : count;
    c->body_left -= here, bytes += here, count -= here;
    if (c->body_left == 0) {
      over(c, c->status == expected);
      return 1;
    }
  }
  return 0;
}

static void read_credentials(const char *name) {
  FILE *file = fopen(name, "r");
  if (!file) fail(name);
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  while ((length = getline(&line, &room, file)) > 0) {
    line[strcspn(line, "\n")] = 0;
    credentials = realloc(credentials, (credential_count + 1) * sizeof *credentials);
    credentials[credential_count++] = strdup(line);
  }
  fclose(file);
}

static void arm(int timer, uint64_t at) {
  struct itimerspec when = {.it_value = {.tv_sec = at / 1000000000ull, .tv_nsec = at % 1000000000ull}};
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void print_histogram(const struct histogram *of) {
  printf("\"answered\":%llu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f", (unsigned long long)of->count,
         percentile(of, 0.5), percentile(of, 0.9), percentile(of, 0.99), percentile(of, 0.999), of->highest / 1e3);
}

int main(int count, char **arguments) {
  double rate = 0, length = 2, skipped = 0;
  uint64_t most = UINT64_MAX;
  for (int option; (option = getopt(count, arguments, "c:r:s:n:d:b:f:x:e:")) != -1;) {
    if (option == 'c') connection_count = atoi(optarg);
    else if (option == 'r') rate = atof(optarg);
    else if (option == 's') length = atof(optarg);
    else if (option == 'n') most = strtoull(optarg, NULL, 10);
    else if (option == 'd') skipped = atof(optarg);
    else if (option == 'b') body_bytes = strtoull(optarg, NULL, 10);
    else if (option == 'f') read_credentials(optarg);
    else if (option == 'x') extra = optarg;
    else if (option == 'e') expected = atoi(optarg);
    else return 2;
  }
  if (count - optind != 2) return 2;
  if (most == 0) most = credential_count;
  server.sin_port = htons(atoi(arguments[optind]));
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  path = arguments[optind + 1];
  body = malloc(body_bytes + 1);
  memset(body, 'x', body_bytes);
  seconds_ = calloc(LONGEST_RUN, sizeof *seconds_);
  poll_ = epoll_create1(0);
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
  epoll_ctl(poll_, EPOLL_CTL_ADD, timer, &event);
  connections = calloc(connection_count, sizeof *connections);
  idle = calloc(connection_count, sizeof *idle);
  for (int i = 0; i < connection_count; i++) {
    connect_to_server(&connections[i]);
    idle[idle_count++] = &connections[i];
  }
  begun = now();
  measured_from = begun + (uint64_t)(skipped * 1e9);
  uint64_t end = measured_from + (uint64_t)(length * 1e9), at = begun, busy = 0;
  while (at < end || busy > 0) {
    // Whatever is due goes to connections that are free; what finds none waits, and its time runs.
    while (idle_count > 0 && started < most) {
      uint64_t due = rate > 0 ? begun + (uint64_t)(started / rate * 1e9) : at;
      if (due > at) {
        arm(timer, due < end ? due : end);
        break;
      }
      if (due >= end) break;
      busy++;
      begin(idle[--idle_count], due);
    }
    if (started >= most && busy == 0) break;
    // An answer that does not come within ten seconds never will.
    if (at > end + 10000000000ull) {
      wrong += busy;
      break;
    }
    int events = epoll_wait(poll_, ready, 256, 100);
    at = now();
    for (int i = 0; i < events; i++) {
      struct connection *c = ready[i].data.ptr;
      if (!c) {
        uint64_t expired;
        if (read(timer, &expired, sizeof expired) < 0 && errno != EAGAIN) fail("timer");
        continue;
      }
      static char bytes[1 << 18];
      int gone = give(c), done = 0;
      ssize_t got = 0;
      while (!gone && (got = recv(c->socket, bytes, sizeof bytes, 0)) > 0) {
        int taken = take(c, bytes, got);
        if (taken < 0) gone = 1;
        if (taken > 0) done = 1;
        if ((size_t)got < sizeof bytes) break;
      }
      if (gone || got == 0 || (got < 0 && errno != EAGAIN)) {
        // A request that was under way is lost; the next one gets a new connection.
        if (c->busy) over(c, 0), done = 1;
        close(c->socket);
        connect_to_server(c);
        reconnected++;
      }
      if (done) busy--, idle[idle_count++] = c;
    }
  }
  double took = (now() < end ? now() - measured_from : end - measured_from) / 1e9;
  printf("{\"wrong\":%llu,\"reconnected\":%llu,\"seconds\":%.3f,", (unsigned long long)wrong, (unsigned long long)reconnected, took);
  print_histogram(&all);
  printf(",\"each_second\":[");
  for (int i = 0; i < LONGEST_RUN && i < length; i++) {
    printf("%s{", i ? "," : "");
    print_histogram(&seconds_[i]);
    printf("}");
  }
  printf("]}\n");
  return 0;
}
