#include "load.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "frames.h"

typedef struct {
  const Model *model;
  const Buffer *requests;
  size_t count;
  uint64_t until;
  atomic_size_t next;
} Work;

typedef struct {
  pthread_t thread;
  Work *work;
  Buffer latencies; /* uint64_t each */
  uint64_t rows;
  uint64_t refused;
} Worker;

static void *work_on(void *argument) {
  Worker *worker = argument;
  Work *work = worker->work;
  Reply reply = {0};
  for (uint64_t begin = now_in_micros(); begin < work->until;) {
    const Buffer *request = &work->requests[atomic_fetch_add(&work->next, 1) % work->count];
    answer(work->model, (Bytes){request->data, request->size}, &reply);
    uint64_t end = now_in_micros(), latency = end - begin;
    put_raw(&worker->latencies, &latency, sizeof latency);
    worker->rows += reply.code ? 0 : (uint64_t)reply.rows;
    worker->refused += reply.code != 0;
    begin = end;
  }
  free(reply.body.data);
  return NULL;
}

static int by_size(const void *one, const void *other) {
  uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
  return (a > b) - (a < b);
}

static double percentile(const Buffer *sorted, double part) {
  size_t count = sorted->size / sizeof(uint64_t);
  return count ? (double)((const uint64_t *)sorted->data)[(size_t)(part * (double)(count - 1) + 0.5)] / 1000 : 0;
}

bool run_load(const Model *model, int in, int out, double seconds, int threads) {
  Buffer read = {0}, list = {0}, latencies = {0};
  while (read_frame(in, &read)) {
    put_raw(&list, &read, sizeof read);
    read = (Buffer){0};
  }
  Work work = {.model = model, .requests = (const Buffer *)list.data, .count = list.size / sizeof(Buffer)};
  if (!work.count) return false;
  Reply reply = {0};
  for (size_t i = 0; i < work.count; i++)
    answer(model, (Bytes){work.requests[i].data, work.requests[i].size}, &reply);

  Worker *workers = allocated((size_t)threads, sizeof *workers);
  uint64_t before = resident_kb(), begin = now_in_micros(), rows = 0, refused = 0;
  work.until = begin + (uint64_t)(seconds * 1e6);
  for (int i = 0; i < threads; i++) {
    workers[i].work = &work;
    if (pthread_create(&workers[i].thread, NULL, work_on, &workers[i])) return false;
  }
  for (int i = 0; i < threads; i++) {
    pthread_join(workers[i].thread, NULL);
    put_raw(&latencies, workers[i].latencies.data, workers[i].latencies.size);
    rows += workers[i].rows, refused += workers[i].refused;
  }
  double took = (double)(now_in_micros() - begin) / 1e6;
  size_t count = latencies.size / sizeof(uint64_t);
  qsort(latencies.data, count, sizeof(uint64_t), by_size);
  dprintf(out,
          "{\"seconds\": %.3f, \"threads\": %d, \"requests\": %zu, \"refused\": %" PRIu64 ", \"rows\": %" PRIu64
          ", \"rows_per_second\": %.2f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"rss_begin_kb\": %" PRIu64
          ", \"rss_end_kb\": %" PRIu64 "}\n",
          took, threads, count, refused, rows, (double)rows / took, percentile(&latencies, 0.5),
          percentile(&latencies, 0.99), before, resident_kb());
  return true;
}
