/* TensorProto to TF_Tensor and back. */
#ifndef TLKERAS_TENSORS_H
#define TLKERAS_TENSORS_H

#include <stdarg.h>

#include "model.h"

/* Makes a tensor of what was sent for an input, if it is of the type and shape that the signature says. Nothing is
   allocated before it is known that the message carries it. Returns NULL and words why not. */
TF_Tensor *tensor_of(Bytes proto, const Info *info, Buffer *why);

/* Makes a tensor of the type string and the shape [count]; the strings are given to set_string. */
TF_Tensor *strings_tensor(int64_t count);
void set_string(TF_Tensor *tensor, size_t index, Bytes value);

/* Frees a tensor that was made here, with its strings. */
void free_tensor(TF_Tensor *tensor);

int64_t count_of(const TF_Tensor *tensor);
Bytes string_at(const TF_Tensor *tensor, size_t index);

/* Writes the fields of a TensorProto. */
void put_tensor(Buffer *buffer, const TF_Tensor *tensor);

/* Writes a text for people; beyond some hundred characters it is cut. */
void put_text_of(Buffer *buffer, const char *format, va_list values);
void put_text(Buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
