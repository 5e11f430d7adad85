/* SPDX-License-Identifier: MIT */
/* text.c - what others have written, and numbers, fit to be shown. */
#include "command.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

size_t printable_bytes(const char *text, size_t room) {
  const unsigned char *byte = (const unsigned char *)text;
  if (byte[0] < 0x80)
    return byte[0] >= 0x20 && byte[0] != 0x7f ? 1 : 0;
  size_t length = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
  uint32_t character = byte[0] & (0xffu >> (length + 1));
  if (length > room)
    return 0;
  for (size_t index = 1; index < length; index++) {
    if ((byte[index] & 0xc0) != 0x80)
      return 0;
    character = character << 6 | (byte[index] & 0x3fu);
  }
  static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000}; /* 0x80 to 0x9f control terminals */
  bool surrogate = character >= 0xd800 && character <= 0xdfff;
  bool bad_lead = byte[0] < 0xc2 || byte[0] > 0xf4;
  return bad_lead || surrogate || character < least[length] || character > 0x10ffff ? 0 : length;
}

const char *make_printable(char *name) {
  size_t room = strlen(name);
  for (char *at = name; room > 0;) {
    size_t length = printable_bytes(at, room);
    if (length == 0) {
      *at = '?';
      length = 1;
    }
    at += length;
    room -= length;
  }
  return name;
}

const char *local_time(uint64_t realtime_ns, char text[24]) {
  time_t seconds = (time_t)(realtime_ns / 1000000000);
  struct tm parts;
  if (localtime_r(&seconds, &parts) == NULL || strftime(text, 24, "%Y-%m-%d %H:%M:%S", &parts) == 0)
    snprintf(text, 24, "?");
  return text;
}

const char *describe_participant(const struct ringbus_participant *participant,
                                 char text[DESCRIPTION_BYTES]) {
  char name[sizeof participant->name], when[24];
  memcpy(name, participant->name, sizeof name);
  snprintf(text, DESCRIPTION_BYTES, "%s, pid %" PRIu32 "%s, slot %" PRIu32 ", %s%s",
           make_printable(name), participant->pid,
           participant->pid_is_local ? "" : " of another namespace", participant->slot,
           participant->alive ? "attached since " : "dead, was attached on ",
           local_time(participant->attached_ns, when));
  return text;
}

void add_whole(cJSON *object, const char *key, uint64_t value) {
  char digits[21];
  snprintf(digits, sizeof digits, "%" PRIu64, value);
  cJSON_AddRawToObject(object, key, digits);
}
