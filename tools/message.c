/* SPDX-License-Identifier: MIT */
/* message.c - a message as bytes of a file, as text for people, and as JSON.
 *
 *   line    message \n       nul   message \0
 *   length  4 bytes, the length with its lowest byte first, then the message
 *   raw     message */
#include "command.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const framing_names[] = {"line", "nul", "length", "raw", NULL};

/* ---------------------------------------------------------------- framing */

struct frame frame(enum framing framing, uint32_t length) {
  struct frame around = {.after_bytes = framing == FRAMING_LINE || framing == FRAMING_NUL};
  around.after[0] = framing == FRAMING_LINE ? '\n' : '\0';
  if (framing == FRAMING_LENGTH)
    for (around.before_bytes = 0; around.before_bytes < 4; around.before_bytes++)
      around.before[around.before_bytes] = (unsigned char)(length >> 8 * around.before_bytes);
  return around;
}

struct framed unframe(enum framing framing, const char *bytes, size_t count, size_t scanned) {
  struct framed found = {.whole = false, .length = count, .scanned = count};
  if (framing == FRAMING_LENGTH) {
    uint32_t length = 0;
    found.begin = sizeof length;
    if (count < sizeof length)
      return found;
    for (size_t index = 0; index < sizeof length; index++)
      length |= (uint32_t)(unsigned char)bytes[index] << 8 * index;
    found.length = length;
    found.used = found.begin + length;
    found.whole = count >= found.used;
    return found;
  }
  const char *end = memchr(bytes + scanned, framing == FRAMING_NUL ? '\0' : '\n', count - scanned);
  if (end != NULL) {
    found.whole = true;
    found.length = (size_t)(end - bytes);
    found.used = found.length + 1;
  }
  return found;
}

/* ---------------------------------------------------------------- text that grows */

static bool text_has_room(struct text *text, size_t count) {
  if (text->failed)
    return false;
  if (text->size - text->used < count) {
    size_t size = 2 * (text->used + count);
    char *larger = realloc(text->bytes, size);
    text->failed = larger == NULL;
    if (text->failed)
      return false;
    text->bytes = larger;
    text->size = size;
  }
  return true;
}

void text_add(struct text *text, const void *bytes, size_t count) {
  if (count > 0 && text_has_room(text, count)) {
    memcpy(text->bytes + text->used, bytes, count);
    text->used += count;
  }
}

void text_print(struct text *text, const char *format, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  size_t whole = length < 0 ? 0 : (size_t)length;
  text_add(text, line, whole < sizeof line ? whole : sizeof line - 1);
}

/* ---------------------------------------------------------------- JSON */

static bool is_plain_text(const char *data, size_t length) {
  for (size_t at = 0; at < length;) {
    size_t whole = printable_bytes(data + at, length - at);
    if (whole == 0)
      return false;
    at += whole;
  }
  return true;
}

/* Plain text: nothing but these two has to be escaped. */
static void add_escaped(struct text *text, const char *data, size_t length) {
  for (size_t at = 0; at < length;) {
    size_t plain = at;
    while (plain < length && data[plain] != '"' && data[plain] != '\\')
      plain++;
    text_add(text, data + at, plain - at);
    if (plain < length)
      text_print(text, "\\%c", data[plain++]);
    at = plain;
  }
}

/* RFC 4648. */
static void add_base64(struct text *text, const char *data, size_t length) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (!text_has_room(text, (length + 2) / 3 * 4))
    return;
  for (size_t at = 0; at < length; at += 3) {
    uint32_t group = 0;
    for (size_t index = at; index < at + 3; index++)
      group = group << 8 | (index < length ? (unsigned char)data[index] : 0);
    for (size_t index = 0; index < 4; index++)
      text->bytes[text->used++] =
          at + index <= length ? digits[group >> (18 - 6 * index) & 63] : '=';
  }
}

void add_message_json(struct text *text, const struct ringbus_message *message, uint64_t count,
                      bool shared) {
  bool plain = is_plain_text(message->data, message->length);
  text_print(text, "{");
  if (!shared)
    text_print(text, "\"count\":%" PRIu64 ",", count);
  text_print(text, "\"position\":%" PRIu64 ",\"length\":%" PRIu32 ",\"tag\":%" PRIu32,
             message->position, message->length, message->tag);
  if (shared)
    text_print(text, ",\"redelivered\":%s", message->redelivered ? "true" : "false");
  text_print(text, ",\"payload%s\":\"", plain ? "" : "_base64");
  (plain ? add_escaped : add_base64)(text, message->data, message->length);
  text_print(text, "\"}\n");
}

/* ---------------------------------------------------------------- for people */

static void add_byte(struct text *text, unsigned char byte) {
  static const char letters[] = "\"\"\\\\\nn\tt\rr";
  for (size_t index = 0; index + 1 < sizeof letters; index += 2) {
    if ((unsigned char)letters[index] == byte) {
      text_print(text, "\\%c", letters[index + 1]);
      return;
    }
  }
  text_print(text, "\\x%02x", byte);
}

void add_message_text(struct text *text, const struct ringbus_message *message, uint64_t count,
                      uint64_t most) {
  const char *data = message->data;
  size_t at = 0, length = message->length;
  text_print(text, "%" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32 " \"", count, message->position,
             message->length, message->tag);
  while (at < length && at < most) {
    size_t whole = printable_bytes(data + at, length - at);
    if (whole == 0 || data[at] == '"' || data[at] == '\\')
      add_byte(text, (unsigned char)data[at]);
    else
      text_add(text, data + at, whole);
    at += whole == 0 ? 1 : whole;
  }
  text_print(text, at < length ? "\"...\n" : "\"\n");
}
