#include "requests.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensors.h"

/* Numbers of fields: prediction_log.proto, predict.proto, classification.proto, input.proto, model.proto. */
enum { LOG_CLASSIFY = 2, LOG_PREDICT = 6, LOG_REQUEST = 1, REQUEST_MODEL = 1, MODEL_SIGNATURE = 3 };
enum { PREDICT_INPUTS = 2, PREDICT_FILTER = 3, ENTRY_KEY = 1, ENTRY_VALUE = 2, PREDICT_OUTPUTS = 1 };
enum { CLASSIFY_INPUT = 2, INPUT_LIST = 1, INPUT_LIST_WITH_CONTEXT = 2, LIST_EXAMPLES = 1, LIST_CONTEXT = 2 };
enum { RESPONSE_RESULT = 1, RESULT_CLASSIFICATIONS = 1, CLASSIFICATIONS_CLASSES = 1, CLASS_LABEL = 1, CLASS_SCORE = 2 };

#define METHODS "tensorflow/serving/"

/* For printf of what a request has, which may be anything. */
#define SHORT(bytes) (int)((bytes).size < 100 ? (bytes).size : 100), (bytes).size ? (const char *)(bytes).at : ""

uint64_t now_in_micros(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

__attribute__((format(printf, 3, 4))) static bool refuse(Reply *reply, TF_Code code, const char *format, ...) {
  va_list values;
  va_start(values, format);
  put_text_of(&reply->body, format, values);
  va_end(values);
  reply->code = code;
  return false;
}

/* Finds the last field of a number in a message: of a field that is given twice, the last counts. */
static bool last_bytes(Bytes message, uint32_t number, Bytes *bytes) {
  Field field;
  Found found;
  while ((found = next_field(&message, &field)) == FOUND)
    if (field.number == number && field.type == BYTES) *bytes = field.bytes;
  return found == END;
}

static const Signature *signature_of(const Model *model, Bytes request, Reply *reply) {
  Bytes spec = {0}, name = {0};
  if (!last_bytes(request, REQUEST_MODEL, &spec) || !last_bytes(spec, MODEL_SIGNATURE, &name)) {
    refuse(reply, TF_INVALID_ARGUMENT, "the request cannot be parsed");
    return NULL;
  }
  if (!name.size) name = (Bytes){(const uint8_t *)"serving_default", 15};
  const Signature *signature = find_signature(model, name);
  if (!signature) refuse(reply, TF_NOT_FOUND, "there is no signature %.*s", SHORT(name));
  return signature;
}

/* Runs the session and gives the outputs, which the caller frees. */
static bool run(const Model *model, const Signature *signature, TF_Tensor *const *inputs, const Info *const *wanted,
                size_t count, TF_Tensor **outputs, Reply *reply) {
  TF_Output feeds[signature->input_count + 1], fetches[count + 1];
  for (size_t i = 0; i < signature->input_count + count; i++) {
    bool is_feed = i < signature->input_count;
    const Info *info = is_feed ? &signature->inputs[i] : wanted[i - signature->input_count];
    TF_Output output = find_tensor(model, info);
    if (!output.oper) return refuse(reply, TF_FAILED_PRECONDITION, "the graph has no tensor %.200s", info->tensor);
    *(is_feed ? &feeds[i] : &fetches[i - signature->input_count]) = output;
  }
  TF_Status *status = TF_NewStatus();
  uint64_t begin = now_in_micros();
  TF_SessionRun(model->session, NULL, feeds, inputs, (int)signature->input_count, fetches, outputs, (int)count, NULL, 0,
                NULL, status);
  reply->micros = now_in_micros() - begin;
  reply->code = TF_GetCode(status);
  if (reply->code) put_text(&reply->body, "%s", TF_Message(status));
  TF_DeleteStatus(status);
  return !reply->code;
}

static int64_t rows_of(const TF_Tensor *tensor) { return TF_NumDims(tensor) ? TF_Dim(tensor, 0) : 1; }

/* Reads the inputs and the output filter of a PredictRequest. */
static bool read_predict(Bytes request, const Signature *signature, TF_Tensor **inputs, bool *filtered, Reply *reply) {
  Field field;
  Found found;
  while ((found = next_field(&request, &field)) == FOUND) {
    if (field.type != BYTES) continue;
    if (field.number == PREDICT_FILTER) {
      const Info *info = find_info(signature->outputs, signature->output_count, field.bytes);
      if (!info) return refuse(reply, TF_INVALID_ARGUMENT, "there is no output %.*s", SHORT(field.bytes));
      filtered[info - signature->outputs] = true;
    }
    if (field.number != PREDICT_INPUTS) continue;
    Bytes key = {0}, value = {0};
    if (!last_bytes(field.bytes, ENTRY_KEY, &key) || !last_bytes(field.bytes, ENTRY_VALUE, &value)) break;
    const Info *info = find_info(signature->inputs, signature->input_count, key);
    if (!info) return refuse(reply, TF_INVALID_ARGUMENT, "there is no input %.*s", SHORT(key));
    Buffer why = {0};
    TF_Tensor *tensor = tensor_of(value, info, &why);
    if (!tensor) refuse(reply, TF_INVALID_ARGUMENT, "input %s: %.*s", info->name, (int)why.size, (const char *)why.data);
    free(why.data);
    if (!tensor) return false;
    free_tensor(inputs[info - signature->inputs]);
    inputs[info - signature->inputs] = tensor;
  }
  if (found != END) return refuse(reply, TF_INVALID_ARGUMENT, "the request cannot be parsed");
  for (size_t i = 0; i < signature->input_count; i++)
    if (!inputs[i]) return refuse(reply, TF_INVALID_ARGUMENT, "input %s is missing", signature->inputs[i].name);
  return true;
}

static void put_name(Buffer *body, uint32_t number, const Signature *signature) {
  size_t spec = begin_message(body, number);
  put_bytes(body, MODEL_SIGNATURE, signature->name, strlen(signature->name));
  end_message(body, spec);
}

static bool predict(const Model *model, Bytes request, Reply *reply) {
  const Signature *signature = signature_of(model, request, reply);
  if (!signature) return false;
  const char *method = signature->method;
  if (strcmp(method, METHODS "predict") && strcmp(method, METHODS "classify") && strcmp(method, METHODS "regress"))
    return refuse(reply, TF_INVALID_ARGUMENT, "signature %s is none for Predict", signature->name);
  size_t outputs = signature->output_count, count = 0;
  TF_Tensor *inputs[signature->input_count + 1], *answers[outputs + 1];
  bool filtered[outputs + 1], any = false;
  const Info *wanted[outputs + 1];
  memset(inputs, 0, sizeof inputs), memset(answers, 0, sizeof answers);
  memset(filtered, 0, sizeof filtered), memset(wanted, 0, sizeof wanted);
  bool done = read_predict(request, signature, inputs, filtered, reply);
  for (size_t i = 0; i < outputs; i++) any |= filtered[i];
  for (size_t i = 0; i < outputs; i++)
    if (filtered[i] || !any) wanted[count++] = &signature->outputs[i];
  if (done && signature->input_count) reply->rows = rows_of(inputs[0]);
  done = done && run(model, signature, inputs, wanted, count, answers, reply);
  for (size_t i = 0; done && i < count; i++) {
    size_t entry = begin_message(&reply->body, PREDICT_OUTPUTS);
    put_bytes(&reply->body, ENTRY_KEY, wanted[i]->name, strlen(wanted[i]->name));
    size_t value = begin_message(&reply->body, ENTRY_VALUE);
    put_tensor(&reply->body, answers[i]);
    end_message(&reply->body, value);
    end_message(&reply->body, entry);
  }
  if (done) put_name(&reply->body, 2, signature), reply->kind = PREDICTED;
  /* Only now: an output may be the memory of an input. */
  for (size_t i = 0; i < count; i++)
    if (answers[i]) TF_DeleteTensor(answers[i]);
  for (size_t i = 0; i < signature->input_count; i++) free_tensor(inputs[i]);
  return done;
}

/* Makes the tensor of serialised Examples, each behind the context, as TensorFlow Serving does. */
static TF_Tensor *read_classify(Bytes request, Reply *reply) {
  Bytes input = {0}, list = {0}, context = {0}, rest;
  Field field;
  Found found = last_bytes(request, CLASSIFY_INPUT, &input) ? FOUND : MALFORMED;
  bool has_context = false;
  int64_t count = 0, i = 0;
  while (found == FOUND && (found = next_field(&input, &field)) == FOUND)
    if ((field.number == INPUT_LIST || field.number == INPUT_LIST_WITH_CONTEXT) && field.type == BYTES)
      list = field.bytes, has_context = field.number == INPUT_LIST_WITH_CONTEXT;
  if (found == END && has_context && !last_bytes(list, LIST_CONTEXT, &context)) found = MALFORMED;
  for (rest = list; found != MALFORMED && (found = next_field(&rest, &field)) == FOUND;)
    count += field.number == LIST_EXAMPLES && field.type == BYTES;
  if (found == MALFORMED || !count) {
    refuse(reply, TF_INVALID_ARGUMENT, found == MALFORMED ? "the request cannot be parsed" : "there are no examples");
    return NULL;
  }
  if (context.size && (size_t)count > ((size_t)64 << 20) / context.size) {
    refuse(reply, TF_INVALID_ARGUMENT, "the context is too large for %d examples", (int)count);
    return NULL;
  }
  TF_Tensor *tensor = strings_tensor(count);
  Buffer both = {0};
  for (rest = list; next_field(&rest, &field) == FOUND;) {
    if (field.number != LIST_EXAMPLES || field.type != BYTES) continue;
    both.size = 0;
    put_raw(&both, context.at, context.size);
    put_raw(&both, field.bytes.at, field.bytes.size);
    set_string(tensor, (size_t)i++, (Bytes){both.data, both.size});
  }
  free(both.data);
  return tensor;
}

static void put_classes(Buffer *body, const TF_Tensor *classes, const TF_Tensor *scores) {
  size_t result = begin_message(body, RESPONSE_RESULT);
  int64_t width = TF_Dim(classes, 1);
  for (int64_t row = 0; row < TF_Dim(classes, 0); row++) {
    size_t one = begin_message(body, RESULT_CLASSIFICATIONS);
    for (int64_t i = row * width; i < (row + 1) * width; i++) {
      size_t class = begin_message(body, CLASSIFICATIONS_CLASSES);
      Bytes label = string_at(classes, (size_t)i);
      put_bytes(body, CLASS_LABEL, label.at, label.size);
      put_float(body, CLASS_SCORE, ((const float *)TF_TensorData(scores))[i]);
      end_message(body, class);
    }
    end_message(body, one);
  }
  end_message(body, result);
}

static bool classify(const Model *model, Bytes request, Reply *reply) {
  const Signature *signature = signature_of(model, request, reply);
  if (!signature) return false;
  const Info *wanted[2];
  wanted[0] = find_info(signature->outputs, signature->output_count, (Bytes){(const uint8_t *)"classes", 7});
  wanted[1] = find_info(signature->outputs, signature->output_count, (Bytes){(const uint8_t *)"scores", 6});
  bool is_one = !strcmp(signature->method, METHODS "classify") && signature->input_count == 1;
  is_one = is_one && !strcmp(signature->inputs[0].name, "inputs") && signature->inputs[0].dtype == TF_STRING;
  if (!is_one || !wanted[0] || !wanted[1])
    return refuse(reply, TF_INVALID_ARGUMENT, "signature %s is none for Classify", signature->name);
  TF_Tensor *input = read_classify(request, reply), *answers[2] = {NULL, NULL};
  if (!input) return false;
  reply->rows = rows_of(input);
  bool done = run(model, signature, &input, wanted, 2, answers, reply);
  if (done) {
    bool whole = TF_TensorType(answers[0]) == TF_STRING && TF_TensorType(answers[1]) == TF_FLOAT;
    for (int i = 0; i < 2; i++) whole = whole && TF_NumDims(answers[i]) == 2 && TF_Dim(answers[i], 0) == reply->rows;
    if (whole && TF_Dim(answers[0], 1) == TF_Dim(answers[1], 1)) {
      put_classes(&reply->body, answers[0], answers[1]);
      put_name(&reply->body, 2, signature);
      reply->kind = CLASSIFIED;
    } else {
      done = refuse(reply, TF_FAILED_PRECONDITION, "the classes and scores of %s do not match", signature->name);
    }
  }
  for (int i = 0; i < 2; i++)
    if (answers[i]) TF_DeleteTensor(answers[i]);
  free_tensor(input);
  return done;
}

void answer(const Model *model, Bytes request, Reply *reply) {
  *reply = (Reply){.body = {reply->body.data, 0, reply->body.capacity}};
  Field field;
  Found found;
  Bytes log = {0}, inner = {0};
  uint32_t method = 0;
  while ((found = next_field(&request, &field)) == FOUND)
    if (field.number > 1 && field.number < 8 && field.type == BYTES) method = field.number, log = field.bytes;
  if (found == MALFORMED || !last_bytes(log, LOG_REQUEST, &inner))
    refuse(reply, TF_INVALID_ARGUMENT, "the request cannot be parsed");
  else if (method == LOG_PREDICT)
    predict(model, inner, reply);
  else if (method == LOG_CLASSIFY)
    classify(model, inner, reply);
  else
    refuse(reply, TF_UNIMPLEMENTED, "only a predict_log or a classify_log is answered");
}
