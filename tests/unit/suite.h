/* SPDX-License-Identifier: MIT */
/* suite.h - included once by each Criterion program. Criterion runs each test in a process of its own,
 * which may crash; the directory of their rings belongs to the runner, which removes it in any case. */
#ifndef RINGBUS_TESTS_SUITE_H
#define RINGBUS_TESTS_SUITE_H

#include <criterion/criterion.h>
#include <criterion/hooks.h>

#include "../support.h"

ReportHook(PRE_ALL)(struct criterion_test_set *tests) {
  (void)tests;
  REQUIRE(setenv("RINGBUS_TEST_DIRECTORY", test_directory(), 1) == 0);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats) {
  (void)stats;
  test_remove_directory();
}

/* cr_result: what a call of the library answered, in words if it is not what was expected. */
#define cr_result(call, expected)                                                                  \
  do {                                                                                             \
    int result_ = (call), expected_ = (expected);                                                  \
    cr_assert_eq(result_, expected_, "%s = %d (%s), not %d (%s); detail: \"%s\"", #call, result_,  \
                 ringbus_strerror(result_), expected_, ringbus_strerror(expected_),                \
                 ringbus_error_detail());                                                          \
  } while (0)

#endif
