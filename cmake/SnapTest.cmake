# SPDX-License-Identifier: Apache-2.0
# Every kind of test is registered with ctest; exit status 77 is a skip.

# snap_checked_fork(TARGET): its fork() either works or ends the program (tests/lib/checked_fork.c)
function(snap_checked_fork target)
  target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/lib/checked_fork.c)
  target_link_options(${target} PRIVATE -Wl,--wrap=fork)
endfunction()

# snap_unit_test(NAME SOURCES... LIBS... [NOT_WITH_TSAN] [SKIP REASON]): a cmocka program
# tests/unit/<layer>/test_<noun>.c. NOT_WITH_TSAN: it looks at its own processes from outside, and
# TSan's runtime changes what is there (a thread of its own, terabytes of shadow, late signals).
function(snap_unit_test name)
  cmake_parse_arguments(T "NOT_WITH_TSAN" "SKIP" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE ${T_LIBS} PkgConfig::CMOCKA)
  snap_checked_fork(${name})
  if(T_NOT_WITH_TSAN AND SNAP_SANITIZE MATCHES "thread")
    set(T_SKIP "looks at its own processes, which the runtime of TSan changes")
  endif()
  if(T_SKIP)
    add_test(NAME unit.${name} COMMAND sh -c "echo 'SKIP: ${T_SKIP}'; exit 77")
  else()
    add_test(NAME unit.${name} COMMAND ${name})
  endif()
  set(timeout 120)
  if(SNAP_SANITIZE)
    set(timeout 400) # TSan is ten times slower
  endif()
  set_tests_properties(unit.${name} PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT ${timeout})
endfunction()

# snap_script_test(NAME LABEL TIMEOUT COMMAND...): any program that exits 0, 1 or 77
function(snap_script_test name label timeout)
  add_test(NAME ${label}.${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77 TIMEOUT ${timeout}
    ENVIRONMENT "SNAP_BUILD=${CMAKE_BINARY_DIR};SNAP_PREFIX=${CMAKE_SOURCE_DIR}/build/prefix;SNAP_SOURCE=${CMAKE_SOURCE_DIR};PYTHONDONTWRITEBYTECODE=1")
endfunction()
