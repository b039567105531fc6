/* Requests as TensorFlow Serving answers them: a serialised PredictionLog in, a serialised response out. */
#ifndef TLKERAS_REQUESTS_H
#define TLKERAS_REQUESTS_H

#include "model.h"

typedef enum { REFUSED = 0, PREDICTED = 1, CLASSIFIED = 2 } Kind;

typedef struct {
  uint32_t code; /* as in absl::StatusCode; 0 where answered */
  uint32_t kind;
  uint64_t micros; /* of the session alone */
  int64_t rows;
  Buffer body; /* PredictResponse, ClassificationResponse, or why it was refused */
} Reply;

/* Answers a request; `reply` is emptied first, and may be used again. Any number of threads may call it. */
void answer(const Model *model, Bytes request, Reply *reply);

uint64_t now_in_micros(void);

#endif
