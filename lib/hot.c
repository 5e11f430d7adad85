/* SPDX-License-Identifier: MIT */
/* hot.c - the hot path of inline.h as exported symbols, from the same text. */
#define RINGBUS_HOT
#include <ringbus/inline.h>
