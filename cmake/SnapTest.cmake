# SPDX-License-Identifier: Apache-2.0
# Every kind of test is registered with ctest; exit status 77 is a skip.

# snap_unit_test(NAME SOURCES... LIBS...): a cmocka program tests/unit/<layer>/test_<noun>.c
function(snap_unit_test name)
  cmake_parse_arguments(T "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE ${T_LIBS} PkgConfig::CMOCKA)
  add_test(NAME unit.${name} COMMAND ${name})
  set_tests_properties(unit.${name} PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 120)
endfunction()

# snap_script_test(NAME LABEL TIMEOUT COMMAND...): any program that exits 0, 1 or 77
function(snap_script_test name label timeout)
  add_test(NAME ${label}.${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77 TIMEOUT ${timeout}
    ENVIRONMENT "SNAP_BUILD=${CMAKE_BINARY_DIR};SNAP_PREFIX=${CMAKE_SOURCE_DIR}/build/prefix;SNAP_SOURCE=${CMAKE_SOURCE_DIR};PYTHONDONTWRITEBYTECODE=1")
endfunction()
