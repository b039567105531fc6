#include "model.h"

#include <stdlib.h>
#include <string.h>

/* Numbers of fields: meta_graph.proto and tensor_shape.proto. */
enum { META_SIGNATURES = 5, SIGNATURE_INPUTS = 1, SIGNATURE_OUTPUTS = 2, SIGNATURE_METHOD = 3 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2, INFO_NAME = 1, INFO_DTYPE = 2, INFO_SHAPE = 3 };
enum { SHAPE_DIM = 2, SHAPE_UNKNOWN = 3, DIM_SIZE = 1 };

static char *text_of(Bytes bytes) {
  char *text = allocated(bytes.size + 1, 1);
  if (bytes.size) memcpy(text, bytes.at, bytes.size);
  return text;
}

static void *longer(void *items, size_t count, size_t size) {
  void *more = allocated(count + 1, size);
  if (count) memcpy(more, items, count * size);
  free(items);
  return more;
}

static bool read_entry(Bytes entry, Bytes *key, Bytes *value) {
  Field field;
  Found found;
  *key = *value = (Bytes){0};
  while ((found = next_field(&entry, &field)) == FOUND) {
    if (field.number == ENTRY_KEY && field.type == BYTES) *key = field.bytes;
    if (field.number == ENTRY_VALUE && field.type == BYTES) *value = field.bytes;
  }
  return found == END;
}

static bool read_shape(Bytes shape, Info *info) {
  Field field, inner;
  Found found;
  info->rank = 0;
  bool known = true;
  while ((found = next_field(&shape, &field)) == FOUND) {
    if (field.number == SHAPE_UNKNOWN && field.type == VARINT && field.value) known = false;
    if (field.number != SHAPE_DIM || field.type != BYTES) continue;
    int64_t size = 0;
    while ((found = next_field(&field.bytes, &inner)) == FOUND)
      if (inner.number == DIM_SIZE && inner.type == VARINT) size = (int64_t)inner.value;
    if (found != END) return false;
    info->dims = longer(info->dims, (size_t)info->rank, sizeof *info->dims);
    info->dims[info->rank++] = size;
  }
  if (!known) info->rank = -1;
  return found == END;
}

static bool read_info(Bytes entry, Info *info) {
  Bytes key, value, name = {0};
  if (!read_entry(entry, &key, &value)) return false;
  *info = (Info){.rank = -1};
  Field field;
  Found found;
  while ((found = next_field(&value, &field)) == FOUND) {
    if (field.number == INFO_NAME && field.type == BYTES) name = field.bytes;
    if (field.number == INFO_DTYPE && field.type == VARINT) info->dtype = (int)field.value;
    if (field.number == INFO_SHAPE && field.type == BYTES && !read_shape(field.bytes, info)) return false;
  }
  info->name = text_of(key);
  info->tensor = text_of(name);
  return found == END;
}

static bool read_signature(Bytes entry, Signature *signature) {
  Bytes key, value, method = {0};
  if (!read_entry(entry, &key, &value)) return false;
  *signature = (Signature){.name = text_of(key)};
  Field field;
  Found found;
  while ((found = next_field(&value, &field)) == FOUND) {
    if (field.type != BYTES) continue;
    if (field.number == SIGNATURE_METHOD) method = field.bytes;
    if (field.number == SIGNATURE_INPUTS) {
      signature->inputs = longer(signature->inputs, signature->input_count, sizeof(Info));
      if (!read_info(field.bytes, &signature->inputs[signature->input_count++])) return false;
    }
    if (field.number == SIGNATURE_OUTPUTS) {
      signature->outputs = longer(signature->outputs, signature->output_count, sizeof(Info));
      if (!read_info(field.bytes, &signature->outputs[signature->output_count++])) return false;
    }
  }
  signature->method = text_of(method);
  return found == END;
}

static bool read_signatures(Bytes meta, Model *model) {
  Field field;
  Found found;
  while ((found = next_field(&meta, &field)) == FOUND) {
    if (field.number != META_SIGNATURES || field.type != BYTES) continue;
    model->signatures = longer(model->signatures, model->count, sizeof(Signature));
    if (!read_signature(field.bytes, &model->signatures[model->count++])) return false;
  }
  return found == END;
}

Model *load_model(const char *folder, Bytes config, TF_Status *status) {
  Model *model = allocated(1, sizeof *model);
  const char *tags[] = {"serve"};
  TF_Buffer *meta = TF_NewBuffer();
  TF_SessionOptions *options = TF_NewSessionOptions();
  if (config.size) TF_SetConfig(options, config.at, config.size, status);
  model->graph = TF_NewGraph();
  if (TF_GetCode(status) == TF_OK)
    model->session = TF_LoadSessionFromSavedModel(options, NULL, folder, tags, 1, model->graph, meta, status);
  if (TF_GetCode(status) == TF_OK && !read_signatures((Bytes){meta->data, meta->length}, model))
    TF_SetStatus(status, TF_DATA_LOSS, "the MetaGraphDef cannot be parsed");
  TF_DeleteSessionOptions(options);
  TF_DeleteBuffer(meta);
  return model;
}

const Signature *find_signature(const Model *model, Bytes name) {
  for (size_t i = 0; i < model->count; i++)
    if (same(name, model->signatures[i].name)) return &model->signatures[i];
  return NULL;
}

const Info *find_info(const Info *infos, size_t count, Bytes name) {
  for (size_t i = 0; i < count; i++)
    if (same(name, infos[i].name)) return &infos[i];
  return NULL;
}

TF_Output find_tensor(const Model *model, const Info *info) {
  Bytes name = {(const uint8_t *)info->tensor, strlen(info->tensor)};
  const char *colon = strrchr(info->tensor, ':');
  int index = colon ? atoi(colon + 1) : 0;
  if (colon) name.size = (size_t)(colon - info->tensor);
  char *operation = text_of(name);
  TF_Output output = {TF_GraphOperationByName(model->graph, operation), index};
  free(operation);
  if (output.oper && (index < 0 || index >= TF_OperationNumOutputs(output.oper))) output.oper = NULL;
  return output;
}
