#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The nesting at which protobuf's own parsers stop. */
#define DEEPEST 100
/* A length in five bytes, whatever it is: it is written before it is known. */
#define LENGTH_BYTES 5

bool take_varint(Bytes *rest, uint64_t *value) {
  uint64_t result = 0;
  for (size_t i = 0; i < rest->size && i < 10; i++) {
    uint8_t byte = rest->at[i];
    result |= (uint64_t)(byte & 0x7f) << (7 * i);
    if (!(byte & 0x80)) {
      rest->at += i + 1;
      rest->size -= i + 1;
      *value = result;
      return true;
    }
  }
  return false;
}

static bool take_bytes(Bytes *rest, uint64_t size, Bytes *bytes) {
  if (size > rest->size) return false;
  *bytes = (Bytes){rest->at, (size_t)size};
  rest->at += size;
  rest->size -= (size_t)size;
  return true;
}

static bool take_fixed(Bytes *rest, size_t size, uint64_t *value) {
  Bytes bytes;
  if (!take_bytes(rest, size, &bytes)) return false;
  *value = 0;
  for (size_t i = 0; i < size; i++) *value |= (uint64_t)bytes.at[i] << (8 * i);
  return true;
}

Found next_field(Bytes *rest, Field *field) {
  uint32_t open[DEEPEST];
  size_t depth = 0;
  while (rest->size) {
    uint64_t tag;
    if (!take_varint(rest, &tag) || tag > UINT32_MAX || tag >> 3 == 0) return MALFORMED;
    *field = (Field){.number = (uint32_t)(tag >> 3), .type = (uint32_t)(tag & 7)};
    bool read = true;
    switch (field->type) {
      case VARINT:
        read = take_varint(rest, &field->value);
        break;
      case FIXED64:
        read = take_fixed(rest, 8, &field->value);
        break;
      case BYTES:
        read = take_varint(rest, &field->value) && take_bytes(rest, field->value, &field->bytes);
        break;
      case 3:
        if (depth == DEEPEST) return MALFORMED;
        open[depth++] = field->number;
        continue;
      case 4:
        if (!depth || open[--depth] != field->number) return MALFORMED;
        continue;
      case FIXED32:
        read = take_fixed(rest, 4, &field->value);
        break;
      default:
        return MALFORMED;
    }
    if (!read) return MALFORMED;
    if (!depth) return FOUND;
  }
  return depth ? MALFORMED : END;
}

Values values_of(Bytes message, uint32_t number, uint32_t type) {
  return (Values){.rest = message, .number = number, .type = type};
}

Found next_value(Values *values, uint64_t *value, Bytes *bytes) {
  while (!values->packed.size) {
    Field field;
    Found found = next_field(&values->rest, &field);
    if (found != FOUND) return found;
    if (field.number != values->number) continue;
    if (field.type == values->type) {
      *value = field.value;
      *bytes = field.bytes;
      return FOUND;
    }
    if (field.type == BYTES) values->packed = field.bytes;
  }
  *bytes = (Bytes){0};
  bool read = values->type == VARINT ? take_varint(&values->packed, value)
                                     : take_fixed(&values->packed, values->type == FIXED32 ? 4 : 8, value);
  return read ? FOUND : MALFORMED;
}

bool same(Bytes bytes, const char *text) {
  return bytes.size == strlen(text) && (!bytes.size || !memcmp(bytes.at, text, bytes.size));
}

void *allocated(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) {
    fprintf(stderr, "out of memory: %zu times %zu bytes\n", count, size);
    exit(3);
  }
  return memory;
}

uint8_t *reserve(Buffer *buffer, size_t size) {
  if (size > SIZE_MAX / 4 - buffer->size) size = SIZE_MAX / 4;
  size_t needed = buffer->size + size;
  if (needed > buffer->capacity) {
    size_t capacity = needed < 256 ? 256 : needed + needed / 2;
    uint8_t *data = realloc(buffer->data, capacity);
    if (!data) {
      fprintf(stderr, "out of memory: %zu bytes\n", capacity);
      exit(3);
    }
    buffer->data = data;
    buffer->capacity = capacity;
  }
  uint8_t *at = buffer->data + buffer->size;
  buffer->size = needed;
  return at;
}

void put_raw(Buffer *buffer, const void *bytes, size_t size) {
  uint8_t *at = reserve(buffer, size);
  if (size) memcpy(at, bytes, size);
}

static void put_bare_varint(Buffer *buffer, uint64_t value) {
  do {
    *reserve(buffer, 1) = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
    value >>= 7;
  } while (value);
}

void put_varint(Buffer *buffer, uint32_t number, uint64_t value) {
  put_bare_varint(buffer, (uint64_t)number << 3 | VARINT);
  put_bare_varint(buffer, value);
}

void put_bytes(Buffer *buffer, uint32_t number, const void *bytes, size_t size) {
  put_bare_varint(buffer, (uint64_t)number << 3 | BYTES);
  put_bare_varint(buffer, size);
  put_raw(buffer, bytes, size);
}

void put_float(Buffer *buffer, uint32_t number, float value) {
  put_bare_varint(buffer, (uint64_t)number << 3 | FIXED32);
  put_raw(buffer, &value, sizeof value);
}

size_t begin_message(Buffer *buffer, uint32_t number) {
  put_bare_varint(buffer, (uint64_t)number << 3 | BYTES);
  reserve(buffer, LENGTH_BYTES);
  return buffer->size;
}

void end_message(Buffer *buffer, size_t mark) {
  size_t length = buffer->size - mark;
  for (size_t i = 0; i < LENGTH_BYTES; i++) {
    buffer->data[mark - LENGTH_BYTES + i] = (uint8_t)((length & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
    length >>= 7;
  }
}
