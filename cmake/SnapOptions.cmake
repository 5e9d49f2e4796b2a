# SPDX-License-Identifier: Apache-2.0
# Language level, visibility, hardening. One include root: an include names its layer.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

option(SNAP_WERROR "Warnings are errors" OFF)
option(SNAP_STATIC_LIBRARIES "Libraries other than the C library by their archives, where they are installed" ON)
set(SNAP_SANITIZE "" CACHE STRING "Sanitizers, for example address,undefined")

add_compile_definitions(_GNU_SOURCE SNAP_VERSION="${PROJECT_VERSION}")
include_directories(${CMAKE_SOURCE_DIR})

add_compile_options(-fno-common -fno-strict-aliasing -fstack-protector-strong -fstack-clash-protection
                    -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack)
