# SPDX-License-Identifier: Apache-2.0
# The warning list, one place.
add_compile_options(
  -Wall -Wextra -Wshadow -Wundef -Wvla -Walloca -Wstrict-prototypes -Wmissing-prototypes
  -Wmissing-declarations -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings
  -Wformat=2 -Wimplicit-fallthrough -Wswitch-enum -Wdouble-promotion -Wnull-dereference
  -Wconversion -Wno-sign-conversion
  -Werror=implicit-function-declaration -Werror=int-conversion
  -Werror=incompatible-pointer-types -Werror=return-type -Werror=format-security)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wjump-misses-init)
endif()
if(SNAP_WERROR)
  add_compile_options(-Werror)
endif()
