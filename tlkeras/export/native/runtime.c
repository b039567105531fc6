/* Serves a SavedModel with TensorFlow's C library and no Python.

   runtime FOLDER [--library FILE]… [--intra N] [--inter N] [--load SECONDS [--threads N]]

   Loads FOLDER as TensorFlow Serving does and reads serialised PredictionLogs from standard input. The first reply, to no
   request, says whether it is loaded, and how long that took; then one reply follows each request (frames.h). With
   --load it answers the requests again and again instead, and prints figures. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frames.h"
#include "load.h"
#include "tensors.h"

/* ConfigProto of config.proto. */
enum { CONFIG_INTRA = 2, CONFIG_INTER = 5 };

static int usage(void) {
  fputs("usage: runtime FOLDER [--library FILE]... [--intra N] [--inter N] [--load SECONDS [--threads N]]\n", stderr);
  return 2;
}

static int serve(const Model *model, int out) {
  Buffer request = {0};
  Reply reply = {0};
  while (read_frame(STDIN_FILENO, &request)) {
    answer(model, (Bytes){request.data, request.size}, &reply);
    if (!write_reply(out, &reply)) return 1;
    shrink(&request);
    shrink(&reply.body);
  }
  return 0;
}

int main(int count, char **arguments) {
  if (count < 2 || arguments[1][0] == '-') return usage();
  TF_Status *status = TF_NewStatus();
  Buffer config = {0};
  double seconds = 0;
  int threads = 1;
  signal(SIGPIPE, SIG_IGN);
  /* What libraries print must not come between the replies. */
  int out = dup(STDOUT_FILENO);
  if (out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return 1;
  for (int i = 2; i < count && TF_GetCode(status) == TF_OK; i += 2) {
    const char *option = arguments[i], *value = i + 1 < count ? arguments[i + 1] : NULL;
    if (!value) return usage();
    if (!strcmp(option, "--library"))
      TF_LoadLibrary(value, status);
    else if (!strcmp(option, "--intra"))
      put_varint(&config, CONFIG_INTRA, (uint64_t)atoi(value));
    else if (!strcmp(option, "--inter"))
      put_varint(&config, CONFIG_INTER, (uint64_t)atoi(value));
    else if (!strcmp(option, "--load"))
      seconds = atof(value);
    else if (!strcmp(option, "--threads"))
      threads = atoi(value);
    else
      return usage();
  }
  if (threads < 1 || threads > 1024 || seconds < 0) return usage();
  uint64_t begin = now_in_micros();
  const Model *model = NULL;
  if (TF_GetCode(status) == TF_OK) model = load_model(arguments[1], (Bytes){config.data, config.size}, status);
  Reply loaded = {.code = TF_GetCode(status), .micros = now_in_micros() - begin};
  if (loaded.code) put_text(&loaded.body, "%s", TF_Message(status));
  if (seconds > 0) {
    if (loaded.code) fprintf(stderr, "%s\n", TF_Message(status));
    return loaded.code || !run_load(model, STDIN_FILENO, out, seconds, threads);
  }
  if (!write_reply(out, &loaded) || loaded.code) return 1;
  return serve(model, out);
}
