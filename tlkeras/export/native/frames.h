/* Requests and replies on pipes: a length of four bytes, little-endian, and then as many bytes. */
#ifndef TLKERAS_FRAMES_H
#define TLKERAS_FRAMES_H

#include "requests.h"

/* Lets go of the memory of a buffer that one large message made: it is not kept for the small ones that follow. */
void shrink(Buffer *buffer);

/* Reads a frame; the buffer grows only as bytes arrive, whatever length is declared. False at the end of the input. */
bool read_frame(int file, Buffer *buffer);

/* Writes code, kind, microseconds, resident memory in kB (4, 4, 8 and 8 bytes) and the body. False if nobody reads. */
bool write_reply(int file, const Reply *reply);

/* What of this process is in memory, in kB. */
uint64_t resident_kb(void);

#endif
