/* Protobuf's wire format: reading that never leaves its bounds, and writing to a buffer that grows. */
#ifndef TLKERAS_WIRE_H
#define TLKERAS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that somebody else owns. */
typedef struct {
  const uint8_t *at;
  size_t size;
} Bytes;

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* A field of a message: `bytes` of the type BYTES, else `value`. */
typedef struct {
  uint32_t number;
  uint32_t type;
  uint64_t value;
  Bytes bytes;
} Field;

/* What the readers below return. */
typedef enum { MALFORMED = -1, END = 0, FOUND = 1 } Found;

bool take_varint(Bytes *rest, uint64_t *value);

/* Takes the next field; a group, which none of our messages has, is passed over. */
Found next_field(Bytes *rest, Field *field);

/* The values of one repeated field of a message, packed or not, in their order. */
typedef struct {
  Bytes rest;
  Bytes packed;
  uint32_t number;
  uint32_t type;
} Values;

Values values_of(Bytes message, uint32_t number, uint32_t type);
Found next_value(Values *values, uint64_t *value, Bytes *bytes);

bool same(Bytes bytes, const char *text);

/* Zeros make an empty one. */
typedef struct {
  uint8_t *data;
  size_t size;
  size_t capacity;
} Buffer;

/* Memory, or the end of the process: there is nothing sensible to do without. */
void *allocated(size_t count, size_t size);

/* Makes room for as many bytes more, and returns where they go. */
uint8_t *reserve(Buffer *buffer, size_t size);
void put_raw(Buffer *buffer, const void *bytes, size_t size);
void put_varint(Buffer *buffer, uint32_t number, uint64_t value);
void put_bytes(Buffer *buffer, uint32_t number, const void *bytes, size_t size);
void put_float(Buffer *buffer, uint32_t number, float value);

/* Begins a message inside the message, and ends it with the mark that the beginning gave. */
size_t begin_message(Buffer *buffer, uint32_t number);
void end_message(Buffer *buffer, size_t mark);

#endif
