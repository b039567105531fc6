/* Sustained load: the same requests again and again, from several threads. */
#ifndef TLKERAS_LOAD_H
#define TLKERAS_LOAD_H

#include "requests.h"

/* Reads all requests from the file, answers each once, and then all in turn for some seconds; prints one line of JSON:
   what was done and how fast, from the serialised request to the serialised response. False if there are none. */
bool run_load(const Model *model, int in, int out, double seconds, int threads);

#endif
