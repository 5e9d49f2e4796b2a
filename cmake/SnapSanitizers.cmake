# SPDX-License-Identifier: Apache-2.0
# Sanitizers, coverage, and the analyzers that run while compiling.
option(SNAP_COVERAGE "Count what tests execute (gcc, gcovr)" OFF)
option(SNAP_ANALYZE "clang-tidy and cppcheck while compiling" OFF)

if(SNAP_SANITIZE)
  add_compile_options(-fsanitize=${SNAP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SNAP_SANITIZE})
endif()

if(SNAP_COVERAGE)
  # counters that forked processes share are atomic, and _exit() loses none: see snap_script_test
  add_compile_options(--coverage -O0 -fprofile-update=atomic)
  add_link_options(--coverage)
endif()

# snap_find_version(VARIABLE VERSION NAMES...): the program of exactly that version, or SNAP_ANALYZE_SKIP
# says that it is missing. Another version finds other things; what is found must be what CI finds.
set(SNAP_ANALYZE_SKIP "")
function(snap_find_version variable version)
  foreach(name ${ARGN})
    find_program(${variable}_${name} ${name})
    if(${variable}_${name})
      execute_process(COMMAND ${${variable}_${name}} --version OUTPUT_VARIABLE told ERROR_QUIET)
      if(told MATCHES "(version|Cppcheck) ${version}")
        set(${variable} ${${variable}_${name}} PARENT_SCOPE)
        return()
      endif()
    endif()
  endforeach()
  set(${variable} "" PARENT_SCOPE)
  list(GET ARGN -1 name)
  set(SNAP_ANALYZE_SKIP "${SNAP_ANALYZE_SKIP}${name} ${version} not found. " PARENT_SCOPE)
endfunction()

if(SNAP_ANALYZE)
  snap_find_version(SNAP_TIDY_PROGRAM 14 clang-tidy-14 clang-tidy)
  if(SNAP_TIDY_PROGRAM)
    set(CMAKE_C_CLANG_TIDY ${SNAP_TIDY_PROGRAM} --quiet)
  endif()
  snap_find_version(SNAP_CPPCHECK_PROGRAM 2.10 cppcheck)
  if(SNAP_CPPCHECK_PROGRAM)
    set(CMAKE_C_CPPCHECK ${SNAP_CPPCHECK_PROGRAM} --quiet --error-exitcode=1 --inline-suppr
      --std=c11 --enable=warning,performance,portability
      --suppressions-list=${CMAKE_SOURCE_DIR}/tools/cppcheck.suppressions)
  endif()
endif()
