/* A SavedModel, loaded as TensorFlow Serving loads it, and what its signatures say. */
#ifndef TLKERAS_MODEL_H
#define TLKERAS_MODEL_H

#include "tensorflow/c/c_api.h"
#include "wire.h"

/* An input or output: its name in requests, the tensor of the graph, and what may be in it. */
typedef struct {
  char *name;
  char *tensor;
  int dtype;
  int rank; /* -1: any */
  int64_t *dims; /* -1: any */
} Info;

typedef struct {
  char *name;
  char *method;
  Info *inputs;
  size_t input_count;
  Info *outputs;
  size_t output_count;
} Signature;

typedef struct {
  TF_Graph *graph;
  TF_Session *session;
  Signature *signatures;
  size_t count;
} Model;

/* Loads the folder for the tag `serve`; `config` is a serialised ConfigProto. A model is never freed. */
Model *load_model(const char *folder, Bytes config, TF_Status *status);

const Signature *find_signature(const Model *model, Bytes name);
const Info *find_info(const Info *infos, size_t count, Bytes name);

/* The output of the graph that an input or output is; `oper` is NULL where the graph has none such. */
TF_Output find_tensor(const Model *model, const Info *info);

#endif
