/* SPDX-License-Identifier: MIT */
/* rm.c - `ringbus rm`: remove rings. */
#include "command.h"

#include <cjson/cJSON.h>

static const char help[] =
    "Usage: ringbus rm NAME... [OPTIONS]\n"
    "Remove rings with all that is in them. A file that is not a ring is never removed. Of a "
    "ring,\n"
    "'ringbus group rm' removes a group.\n"
    "\n"
    "  --force   even while somebody is attached: they are told that the ring is stale\n"
    "  --json    print a JSON object a line for each ring: name, removed (true or false), error "
    "(null,\n"
    "            or why not)\n"
    "\n"
    "Examples\n"
    "  ringbus rm quotes\n"
    "  ringbus rm --force jobs trace\n";

static bool force, json;

static const struct verb_option options[] = {
    {.name = "force", .letter = 'f', .set = set_flag, .to = &force},
    OPTION_JSON(&json),
    OPTIONS_END,
};

static int remove_ring(const char *name) {
  const struct ring_request request = {.name = name};
  int error = ringbus_ring_remove(name, force);
  int code = error == 0 ? COMMAND_OK : failed_to_open(&request, error);
  if (!json)
    return code;
  cJSON *object = cJSON_CreateObject();
  add_name(object, "name", name);
  cJSON_AddBoolToObject(object, "removed", error == 0);
  add_name(object, "error", error == 0 ? NULL : error_told());
  int printed = print_line(object);
  return code == COMMAND_OK ? printed : code;
}

static int run(int count, char **operands) {
  if (count == 0)
    usage_error("expected at least one NAME");
  for (int index = 0; index < count; index++)
    not_a_copy(operands[index]);
  int first_failure = COMMAND_OK;
  for (int index = 0; index < count; index++) {
    int code = remove_ring(operands[index]);
    first_failure = first_failure == COMMAND_OK ? code : first_failure;
  }
  return first_failure;
}

const struct verb rm_verb = {
    .name = "rm",
    .summary = "remove rings",
    .help = help,
    .options = options,
    .run = run,
    .operands = {WORD_RING, WORD_RING, WORD_RING, WORD_RING},
};
