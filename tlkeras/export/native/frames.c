#include "frames.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT_ONCE ((size_t)1 << 20)
#define KEPT ((size_t)16 << 20)

static bool read_all(int file, uint8_t *at, size_t size) {
  while (size) {
    ssize_t got = read(file, at, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    size -= (size_t)got;
  }
  return true;
}

static bool write_all(int file, const uint8_t *at, size_t size) {
  while (size) {
    ssize_t put = write(file, at, size);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    at += put;
    size -= (size_t)put;
  }
  return true;
}

void shrink(Buffer *buffer) {
  if (buffer->capacity <= KEPT) return;
  free(buffer->data);
  *buffer = (Buffer){0};
}

bool read_frame(int file, Buffer *buffer) {
  uint8_t head[4];
  if (!read_all(file, head, 4)) return false;
  size_t left = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
  buffer->size = 0;
  while (left) {
    size_t part = left < AT_ONCE ? left : AT_ONCE;
    if (!read_all(file, reserve(buffer, part), part)) return false;
    left -= part;
  }
  return true;
}

bool write_reply(int file, const Reply *reply) {
  uint8_t head[28];
  uint64_t resident = resident_kb();
  bool fits = reply->body.size < UINT32_MAX - sizeof head;
  uint32_t size = (uint32_t)((fits ? reply->body.size : 0) + sizeof head - 4);
  uint32_t code = fits ? reply->code : TF_RESOURCE_EXHAUSTED, kind = fits ? reply->kind : REFUSED;
  memcpy(head, &size, 4);
  memcpy(head + 4, &code, 4);
  memcpy(head + 8, &kind, 4);
  memcpy(head + 12, &reply->micros, 8);
  memcpy(head + 20, &resident, 8);
  return write_all(file, head, sizeof head) && write_all(file, reply->body.data, size + 4 - sizeof head);
}

uint64_t resident_kb(void) {
  unsigned long long total = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file) return 0;
  if (fscanf(file, "%llu %llu", &total, &resident) != 2) resident = 0;
  fclose(file);
  return resident * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}
