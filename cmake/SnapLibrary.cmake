# SPDX-License-Identifier: Apache-2.0
# snap_library(NAME MODULE): PkgConfig::NAME, as pkg_check_modules() makes it, but by its archive where
# there is one: each shared library that snapworker starts with costs a wake a quarter of a millisecond,
# and an image has to hold it.
macro(snap_library name module)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${module})
  if(SNAP_STATIC_LIBRARIES)
    get_target_property(_libraries PkgConfig::${name} INTERFACE_LINK_LIBRARIES)
    set(_found "")
    foreach(_library IN LISTS _libraries)
      string(REGEX REPLACE "\\.so$" ".a" _archive "${_library}")
      if(EXISTS "${_archive}")
        list(APPEND _found "${_archive}")
      else()
        list(APPEND _found "${_library}")
      endif()
    endforeach()
    set_target_properties(PkgConfig::${name} PROPERTIES INTERFACE_LINK_LIBRARIES "${_found}")
  endif()
endmacro()
