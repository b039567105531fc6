#include "tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tensorflow/c/tf_tstring.h"

/* Numbers of fields: tensor.proto and tensor_shape.proto. */
enum { TENSOR_DTYPE = 1, TENSOR_SHAPE = 2, TENSOR_CONTENT = 4, TENSOR_STRING = 8 };
enum { SHAPE_DIM = 2, SHAPE_UNKNOWN = 3, DIM_SIZE = 1 };
/* TensorFlow aborts beyond this rank. */
#define HIGHEST_RANK 254
/* Dimensions are multiplied as if none were 0: beyond this, parts of the product overflow inside TensorFlow. */
#define MOST_ELEMENTS ((int64_t)1 << 40)
/* The last value stands for all that are not sent: up to so many bytes. */
#define MOST_FILLED ((size_t)64 << 20)

void put_text_of(Buffer *buffer, const char *format, va_list values) {
  char text[600];
  int size = vsnprintf(text, sizeof text, format, values);
  if (size > 0) put_raw(buffer, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

void put_text(Buffer *buffer, const char *format, ...) {
  va_list values;
  va_start(values, format);
  put_text_of(buffer, format, values);
  va_end(values);
}

/* Which field of a TensorProto has the values of a type, and how they are written. */
static bool field_of(int dtype, uint32_t *number, uint32_t *type) {
  *type = VARINT;
  switch (dtype) {
    case TF_FLOAT:
      *number = 5, *type = FIXED32;
      return true;
    case TF_DOUBLE:
      *number = 6, *type = FIXED64;
      return true;
    case TF_INT32:
    case TF_INT16:
    case TF_INT8:
    case TF_UINT16:
    case TF_UINT8:
      *number = 7;
      return true;
    case TF_STRING:
      *number = TENSOR_STRING, *type = BYTES;
      return true;
    case TF_INT64:
      *number = 10;
      return true;
    case TF_BOOL:
      *number = 11;
      return true;
    case TF_HALF:
    case TF_BFLOAT16:
      *number = 13;
      return true;
    case TF_UINT32:
      *number = 16;
      return true;
    case TF_UINT64:
      *number = 17;
      return true;
    default:
      return false;
  }
}

typedef struct {
  int dtype;
  int rank;
  int64_t dims[HIGHEST_RANK];
  int64_t count;
  bool has_content;
  Bytes content;
} Header;

static bool read_shape(Bytes shape, Header *header, Buffer *why) {
  Field field, inner;
  Found found;
  while ((found = next_field(&shape, &field)) == FOUND) {
    if (field.number == SHAPE_UNKNOWN && field.type == VARINT && field.value) {
      put_text(why, "its shape is unknown");
      return false;
    }
    if (field.number != SHAPE_DIM || field.type != BYTES) continue;
    if (header->rank == HIGHEST_RANK) {
      put_text(why, "its rank is above %d", HIGHEST_RANK);
      return false;
    }
    int64_t size = 0;
    while ((found = next_field(&field.bytes, &inner)) == FOUND)
      if (inner.number == DIM_SIZE && inner.type == VARINT) size = (int64_t)inner.value;
    if (found != END) break;
    header->dims[header->rank++] = size;
  }
  if (found != END) put_text(why, "its shape cannot be parsed");
  return found == END;
}

static bool read_header(Bytes proto, Header *header, Buffer *why) {
  *header = (Header){0};
  Field field;
  Found found;
  Bytes shape = {0};
  while ((found = next_field(&proto, &field)) == FOUND) {
    if (field.number == TENSOR_DTYPE && field.type == VARINT) header->dtype = (int)(field.value & 0x7fffffff);
    if (field.number == TENSOR_SHAPE && field.type == BYTES) shape = field.bytes;
    if (field.number == TENSOR_CONTENT && field.type == BYTES) header->content = field.bytes;
  }
  header->has_content = header->content.size > 0;
  if (found != END) put_text(why, "it cannot be parsed");
  return found == END && read_shape(shape, header, why);
}

static bool fits(Header *header, const Info *info, Buffer *why) {
  if (header->dtype != info->dtype) {
    put_text(why, "it is of type %d, and type %d is expected", header->dtype, info->dtype);
    return false;
  }
  if (info->rank >= 0 && header->rank != info->rank) {
    put_text(why, "it is of rank %d, and rank %d is expected", header->rank, info->rank);
    return false;
  }
  int64_t bounded = 1;
  header->count = 1;
  for (int i = 0; i < header->rank; i++) {
    int64_t size = header->dims[i];
    if (size < 0 || (info->rank >= 0 && info->dims[i] >= 0 && size != info->dims[i])) {
      put_text(why, "its dimension %d is %" PRId64 ", and ", i, size);
      put_text(why, size < 0 ? "0 or more is legal" : "%" PRId64 " is expected", info->rank < 0 ? 0 : info->dims[i]);
      return false;
    }
    if (size > MOST_ELEMENTS || bounded > MOST_ELEMENTS / (size ? size : 1)) {
      put_text(why, "its shape is too large");
      return false;
    }
    bounded *= size ? size : 1;
    header->count *= size;
  }
  return true;
}

TF_Tensor *strings_tensor(int64_t count) {
  TF_Tensor *tensor = TF_AllocateTensor(TF_STRING, &count, 1, (size_t)count * sizeof(TF_TString));
  TF_TString *strings = TF_TensorData(tensor);
  for (int64_t i = 0; i < count; i++) TF_StringInit(&strings[i]);
  return tensor;
}

void set_string(TF_Tensor *tensor, size_t index, Bytes value) {
  TF_StringCopy((TF_TString *)TF_TensorData(tensor) + index, (const char *)value.at, value.size);
}

int64_t count_of(const TF_Tensor *tensor) { return TF_TensorElementCount(tensor); }

void free_tensor(TF_Tensor *tensor) {
  if (!tensor) return;
  if (TF_TensorType(tensor) == TF_STRING) {
    TF_TString *strings = TF_TensorData(tensor);
    for (int64_t i = 0; i < count_of(tensor); i++) TF_StringDealloc(&strings[i]);
  }
  TF_DeleteTensor(tensor);
}

Bytes string_at(const TF_Tensor *tensor, size_t index) {
  const TF_TString *string = (const TF_TString *)TF_TensorData(tensor) + index;
  return (Bytes){(const uint8_t *)TF_StringGetDataPointer(string), TF_StringGetSize(string)};
}

/* The content of a string tensor: all lengths, and then all strings. */
static bool fill_from_content(TF_Tensor *tensor, size_t count, Bytes content) {
  if (TF_TensorType(tensor) != TF_STRING) {
    memcpy(TF_TensorData(tensor), content.at, content.size);
    return true;
  }
  Bytes lengths = content;
  uint64_t length, total = 0;
  for (size_t i = 0; i < count; i++)
    if (!take_varint(&content, &length) || (total += length) > lengths.size || length > lengths.size) return false;
  if (total != content.size) return false;
  for (size_t i = 0; i < count; i++) {
    take_varint(&lengths, &length);
    set_string(tensor, i, (Bytes){content.at, (size_t)length});
    content.at += length;
  }
  return true;
}

static void fill_from_values(TF_Tensor *tensor, size_t count, Values values) {
  int dtype = TF_TensorType(tensor);
  size_t size = TF_DataTypeSize(dtype);
  uint8_t *data = TF_TensorData(tensor);
  uint64_t value = 0;
  Bytes bytes = {(const uint8_t *)"", 0};
  bool more = true;
  for (size_t i = 0; i < count; i++) {
    more = more && next_value(&values, &value, &bytes) == FOUND;
    if (dtype == TF_BOOL) value = value != 0;
    if (dtype == TF_STRING)
      set_string(tensor, i, bytes);
    else
      memcpy(data + i * size, &value, size);
  }
}

/* Counts the values that a message carries, and gives the size of the last. */
static bool count_values(Values values, size_t *count, size_t *last) {
  uint64_t value;
  Bytes bytes = {0};
  Found found;
  *count = *last = 0;
  while ((found = next_value(&values, &value, &bytes)) == FOUND) ++*count, *last = bytes.size;
  return found == END;
}

TF_Tensor *tensor_of(Bytes proto, const Info *info, Buffer *why) {
  Header header;
  uint32_t number, type;
  size_t carried, last;
  if (!read_header(proto, &header, why) || !fits(&header, info, why)) return NULL;
  if (!field_of(header.dtype, &number, &type)) {
    put_text(why, "its type %d is none that requests have", header.dtype);
    return NULL;
  }
  size_t count = (size_t)header.count;
  size_t size = header.dtype == TF_STRING ? sizeof(TF_TString) : TF_DataTypeSize(header.dtype);
  Values values = values_of(proto, number, type);
  if (!count_values(values, &carried, &last)) {
    put_text(why, "its values cannot be parsed");
    return NULL;
  }
  bool from_content = header.has_content && count;
  if (from_content && (header.dtype == TF_STRING ? count > header.content.size : count * size != header.content.size)) {
    put_text(why, "its content of %zu bytes is not that of %zu values", header.content.size, count);
    return NULL;
  }
  if (!from_content && carried < count && (count - carried) > MOST_FILLED / (size + last)) {
    put_text(why, "it declares %zu values and carries %zu", count, carried);
    return NULL;
  }
  TF_Tensor *tensor = TF_AllocateTensor(header.dtype, header.dims, header.rank, count * size);
  if (header.dtype == TF_STRING)
    for (size_t i = 0; i < count; i++) TF_StringInit((TF_TString *)TF_TensorData(tensor) + i);
  if (!from_content)
    fill_from_values(tensor, count, values);
  else if (!fill_from_content(tensor, count, header.content)) {
    put_text(why, "the lengths of its strings are not those of its content");
    free_tensor(tensor);
    return NULL;
  }
  return tensor;
}

void put_tensor(Buffer *buffer, const TF_Tensor *tensor) {
  put_varint(buffer, TENSOR_DTYPE, TF_TensorType(tensor));
  size_t shape = begin_message(buffer, TENSOR_SHAPE);
  for (int i = 0; i < TF_NumDims(tensor); i++) {
    size_t dim = begin_message(buffer, SHAPE_DIM);
    put_varint(buffer, DIM_SIZE, (uint64_t)TF_Dim(tensor, i));
    end_message(buffer, dim);
  }
  end_message(buffer, shape);
  if (TF_TensorType(tensor) != TF_STRING) {
    put_bytes(buffer, TENSOR_CONTENT, TF_TensorData(tensor), TF_TensorByteSize(tensor));
    return;
  }
  for (int64_t i = 0; i < count_of(tensor); i++) {
    Bytes string = string_at(tensor, (size_t)i);
    put_bytes(buffer, TENSOR_STRING, string.at, string.size);
  }
}
