/* SPDX-License-Identifier: MIT */
/* options.c - a verb's options are a table: getopt_long reads it, mistakes are told from it, and shells
 * complete from it. */
#include "command.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OPTIONS = 24, FIRST_LONG = 256, SHOWN_NAME = 64 };

/* ---------------------------------------------------------------- reading the command line */

/* What getopt_long has just refused; found is its answer, '?' or ':'. */
_Noreturn static void refuse(int found, char **argv) {
  /* Unknown letters are in optopt; of long options only the word itself is known. */
  const char *word = argv[optind - 1];
  if (found == ':')
    usage_error("'%s' expects a value", word);
  if (strncmp(word, "--", 2) == 0 && strchr(word, '=') != NULL && optopt != 0)
    usage_error("'%s': this option takes no value", word);
  if (optopt != 0 && optopt <= 255 && isprint(optopt))
    usage_error("'-%c' is no option", optopt);
  usage_error("'%s' is no option, or short for several", word);
}

int parse_options(const struct verb *verb, int argc, char **argv) {
  struct option long_options[MOST_OPTIONS + 2] = {{NULL, 0, NULL, 0}};
  char letters[2 * MOST_OPTIONS + 3] = ":h";
  size_t count = 0, used = strlen(letters);
  for (const struct verb_option *option = verb->options; option->name != NULL; option++) {
    static const int arguments[] = {no_argument, required_argument, optional_argument};
    long_options[count] =
        (struct option){option->name, arguments[option->takes], NULL, FIRST_LONG + (int)count};
    count++;
    if (option->letter != 0) {
      letters[used++] = option->letter;
      if (option->takes == TAKES_VALUE)
        letters[used++] = ':';
    }
  }
  letters[used] = '\0';
  long_options[count] = (struct option){"help", no_argument, NULL, 'h'};
  int found;
  while ((found = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
    if (found == 'h')
      verb_help(verb);
    if (found == '?' || found == ':')
      refuse(found, argv);
    const struct verb_option *option = verb->options;
    if (found >= FIRST_LONG)
      option += found - FIRST_LONG;
    else
      while (option->letter != found)
        option++;
    /* getopt knows optional values only behind '='; a number behind the option is one, too. */
    if (option->takes == MAY_TAKE_VALUE && optarg == NULL && optind < argc &&
        isdigit((unsigned char)argv[optind][0]) && option->value == WORD_NUMBER)
      optarg = argv[optind++];
    option->set(option, optarg);
  }
  memmove(argv, argv + optind, (size_t)(argc - optind + 1) * sizeof *argv);
  for (char **operand = argv; *operand != NULL; operand++)
    if (**operand == '\0')
      usage_error("'': expected a name: is a variable of the shell empty?");
  return argc - optind;
}

const char *one_name(int count, char **operands) {
  if (count != 1)
    usage_error("expected one NAME, got %d", count);
  return operands[0];
}

const char *not_a_copy(const char *name) {
  if (strcmp(name, "-") == 0)
    usage_error("'-' is a copy of a ring on standard input, which only 'ringbus info -', 'ringbus "
                "check -' and 'ringbus dump -' can read");
  return name;
}

/* ---------------------------------------------------------------- values */

/* Digits only: no sign, no space, no other base. False if there are none or they overflow. */
static bool read_digits(const char *text, uint64_t *value, const char **end) {
  uint64_t result = 0;
  const char *at = text;
  for (; isdigit((unsigned char)*at); at++) {
    uint64_t digit = (uint64_t)(*at - '0');
    if (result > (UINT64_MAX - digit) / 10)
      return false;
    result = result * 10 + digit;
  }
  *value = result;
  *end = at;
  return at != text;
}

uint64_t parse_number(const char *name, const char *text, uint64_t least, uint64_t most) {
  uint64_t value;
  const char *end;
  if (!read_digits(text, &value, &end) || *end != '\0' || value < least || value > most) {
    usage_error("%s '%s': expected a number from %llu to %llu", name, text,
                (unsigned long long)least, (unsigned long long)most);
  }
  return value;
}

unsigned parse_choice(const char *name, const char *text, const char *const *choices) {
  char expected[128] = "";
  for (unsigned index = 0; choices[index] != NULL; index++) {
    if (strcmp(text, choices[index]) == 0)
      return index;
    size_t used = strlen(expected);
    const char *separator = index == 0 ? "" : choices[index + 1] == NULL ? " or " : ", ";
    snprintf(expected + used, sizeof expected - used, "%s%s", separator, choices[index]);
  }
  usage_error("%s '%s': expected %s", name, text, expected);
}

struct where parse_where(const char *name, const char *text, const char *const *choices) {
  static const char *const starts[] = {"resume", "oldest", "newest"};
  if (isdigit((unsigned char)*text))
    return (struct where){RINGBUS_POSITION, parse_number(name, text, 0, UINT64_MAX)};
  const char *choice = choices[parse_choice(name, text, choices)];
  for (unsigned start = 0; start < sizeof starts / sizeof starts[0]; start++)
    if (strcmp(choice, starts[start]) == 0)
      return (struct where){(enum ringbus_start)start, 0};
  usage_error("%s: expected the number of a position", name); /* "a position", taken by the word */
}

/* The option as it is written. */
static const char *dashed(const struct verb_option *option) {
  static char name[SHOWN_NAME];
  snprintf(name, sizeof name, "--%s", option->name);
  return name;
}

void set_flag(const struct verb_option *option, const char *text) {
  (void)text;
  *(bool *)option->to = true;
}

void set_constant(const struct verb_option *option, const char *text) {
  (void)text;
  *(unsigned *)option->to = (unsigned)option->least;
}

void set_text(const struct verb_option *option, const char *text) {
  if (*text == '\0')
    usage_error("%s '': expected a name", dashed(option));
  *(const char **)option->to = text;
}

void set_number(const struct verb_option *option, const char *text) {
  *(uint64_t *)option->to = parse_number(dashed(option), text, option->least, option->most);
}

void set_number32(const struct verb_option *option, const char *text) {
  *(uint32_t *)option->to =
      (uint32_t)parse_number(dashed(option), text, option->least, option->most);
}

void set_choice(const struct verb_option *option, const char *text) {
  *(unsigned *)option->to = parse_choice(dashed(option), text, option->choices);
}

void set_where(const struct verb_option *option, const char *text) {
  *(struct where *)option->to = parse_where(dashed(option), text, option->choices);
}

void set_framing(const struct verb_option *option, const char *text) {
  struct shape *shape = option->to;
  shape->framed = true;
  shape->framing = text == NULL ? FRAMING_RAW
                                : (enum framing)parse_choice(dashed(option), text, option->choices);
}

void check_shape(struct shape *shape) {
  if (shape->json && shape->framed)
    usage_error("--json and --framing or --raw exclude each other");
  if (shape->json)
    shape->framing = FRAMING_RAW; /* nothing around the objects */
}

static bool read_size(const char *text, uint64_t *size) {
  const char *end;
  if (!read_digits(text, size, &end))
    return false;
  if (*end == '\0')
    return true;
  static const char suffixes[] = "KMGT";
  const char *suffix = strchr(suffixes, toupper((unsigned char)*end));
  if (suffix == NULL || end[1] != '\0')
    return false;
  unsigned shift = 10 * (unsigned)(suffix - suffixes + 1);
  if (*size > UINT64_MAX >> shift)
    return false;
  *size <<= shift;
  return true;
}

void set_size(const struct verb_option *option, const char *text) {
  uint64_t size;
  if (!read_size(text, &size) || size == 0) {
    usage_error("%s '%s': expected a number of bytes, such as 65536 or 64K (K, M, G, T)",
                dashed(option), text);
  }
  *(uint64_t *)option->to = size;
}

static uint64_t nearest_capacity(uint64_t size) {
  const uint64_t least = UINT64_C(1) << 12, most = UINT64_C(1) << 40;
  uint64_t below = least;
  while (below < most && below <= size / 2)
    below *= 2;
  return below < most && size > below && size - below > 2 * below - size ? 2 * below : below;
}

void set_capacity(const struct verb_option *option, const char *text) {
  uint64_t size;
  char shown[24];
  if (!read_size(text, &size))
    usage_error("%s '%s': expected a power of two from 4K to 1T, such as 4M", dashed(option), text);
  if (nearest_capacity(size) != size) {
    usage_error("%s '%s': expected a power of two from 4K to 1T; the nearest is %s", dashed(option),
                text, short_size(nearest_capacity(size), shown));
  }
  *(uint64_t *)option->to = size;
}

void set_seconds(const struct verb_option *option, const char *text) {
  char *end = NULL;
  double seconds = text[strspn(text, "0123456789.")] == '\0' ? strtod(text, &end) : -1;
  /* Below 2^63 ns (292 years), which also refuses infinity. */
  if (!(seconds >= 0 && seconds <= 9e9) || end == text || *end != '\0')
    usage_error("%s '%s': expected seconds, such as 10 or 0.5", dashed(option), text);
  *(int64_t *)option->to = (int64_t)(seconds * 1e9 + 0.5);
}

/* ---------------------------------------------------------------- completion */

/* What is being typed, and what stands before its value in the same word. */
struct typed {
  const char *prefix;
  const char *ring; /* that the line names so far */
};

static void offer(const struct typed *typed, const char *before, const char *candidate) {
  if (strncmp(candidate, typed->prefix, strlen(typed->prefix)) == 0)
    printf("%s%s\n", before, candidate);
}

static int offer_name(const char *name, void *typed) {
  char copy[256];
  snprintf(copy, sizeof copy, "%s", name);
  if (strcmp(make_printable(copy), name) == 0) /* others cannot be typed */
    offer(typed, "", name);
  return 0;
}

static void offer_groups(const struct typed *typed) {
  ringbus_ring *ring;
  const struct ringbus_open_options look = {.read_only = true};
  struct ringbus_group_info group;
  if (typed->ring == NULL || ringbus_ring_open(typed->ring, &look, &ring) != 0)
    return;
  for (uint32_t index = 0; index < 64; index++)
    if (ringbus_ring_group(ring, index, &group) == 0 && group.durable)
      offer(typed, "", make_printable(group.name));
  ringbus_ring_close(ring);
}

static void offer_word(const struct typed *typed, enum word word, const char *const *choices) {
  switch (word) {
  case WORD_CHOICE:
    for (; *choices != NULL; choices++)
      if (strchr(*choices, ' ') == NULL) /* "a position" */
        offer(typed, "", *choices);
    break;
  case WORD_RING:
    if (strchr(typed->prefix, '/') != NULL)
      puts(":files");
    else
      ringbus_bus_list(NULL, offer_name, (void *)(uintptr_t)typed);
    break;
  case WORD_GROUP:
    offer_groups(typed);
    break;
  case WORD_FILE:
    puts(":files");
    break;
  case WORD_DIRECTORY:
    puts(":directories");
    break;
  case WORD_NOTHING:
  case WORD_NUMBER:
    break;
  }
}

static const struct verb_option *find_option(const struct verb *verb, const char *word) {
  for (const struct verb_option *option = verb->options; option->name != NULL; option++)
    if ((word[0] == '-' && word[1] == '-' && strcmp(word + 2, option->name) == 0) ||
        (word[0] == '-' && word[1] != '\0' && word[1] == option->letter && word[2] == '\0'))
      return option;
  return NULL;
}

static void complete_verb(const struct verb *verb, int count, char **words) {
  enum { OPERANDS = sizeof verb->operands / sizeof verb->operands[0] };
  struct typed typed = {words[count - 1], NULL};
  const struct verb_option *awaited = NULL;
  int operands = 0;
  bool only_operands = false;
  for (int index = 0; index < count - 1; index++) {
    const char *word = words[index];
    if (awaited != NULL && strcmp(word, "=") == 0) /* as bash splits --option=value */
      continue;
    if (awaited != NULL) {
      awaited = NULL;
    } else if (!only_operands && strcmp(word, "--") == 0) {
      only_operands = true;
    } else if (!only_operands && word[0] == '-' && word[1] != '\0') {
      awaited = find_option(verb, word);
      bool with_value = index + 1 < count && strcmp(words[index + 1], "=") == 0;
      if (awaited != NULL && awaited->takes != TAKES_VALUE && !with_value)
        awaited = NULL;
    } else {
      int place = operands < OPERANDS ? operands : OPERANDS - 1;
      if (verb->operands[place] == WORD_RING && typed.ring == NULL)
        typed.ring = word;
      operands++;
    }
  }
  if (awaited != NULL) {
    if (strcmp(typed.prefix, "=") == 0)
      typed.prefix = "";
    offer_word(&typed, awaited->value, awaited->choices);
  } else if (!only_operands && typed.prefix[0] == '-' && typed.prefix[1] != '\0') {
    typed.prefix += typed.prefix[1] == '-' ? 2 : 1;
    for (const struct verb_option *option = verb->options; option->name != NULL; option++)
      offer(&typed, "--", option->name);
    offer(&typed, "--", "help");
  } else {
    int place = operands < OPERANDS ? operands : OPERANDS - 1;
    offer_word(&typed, verb->operands[place], verb->choices);
  }
}

void complete(const struct verb *const *verbs, int count, char **words) {
  if (count == 1) {
    const struct typed typed = {words[0], NULL};
    for (; *verbs != NULL; verbs++)
      offer(&typed, "", (*verbs)->name);
    offer(&typed, "", "--help");
    offer(&typed, "", "--version");
    return;
  }
  for (; count > 1 && *verbs != NULL; verbs++)
    if (strcmp(words[0], (*verbs)->name) == 0 && (*verbs)->options != NULL)
      complete_verb(*verbs, count - 1, words + 1);
}
