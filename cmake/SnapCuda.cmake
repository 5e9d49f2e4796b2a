# SPDX-License-Identifier: Apache-2.0
# The CUDA toolkit is used where it is and needed nowhere: its compiler makes kernels for the run on
# hardware, its header is compared with our own declarations.
set(SNAP_CUDA AUTO CACHE STRING "CUDA toolkit: AUTO (where it is), ON (it must be), OFF")
set_property(CACHE SNAP_CUDA PROPERTY STRINGS AUTO ON OFF)

set(snap_cuda_folders $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda)
if(SNAP_CUDA STREQUAL "OFF")
  unset(SNAP_NVCC CACHE)
  unset(CUDA_INCLUDE_DIR CACHE)
else()
  find_program(SNAP_NVCC nvcc HINTS ${snap_cuda_folders} PATH_SUFFIXES bin)
  find_path(CUDA_INCLUDE_DIR cuda.h HINTS ${snap_cuda_folders} PATH_SUFFIXES include)
  if(SNAP_CUDA STREQUAL "ON" AND NOT (SNAP_NVCC AND CUDA_INCLUDE_DIR))
    message(FATAL_ERROR "SNAP_CUDA=ON: nvcc or cuda.h not found")
  endif()
endif()

# snap_cuda_kernels(SOURCE): SOURCE.fatbin in the build folder, code for the H100 and PTX for later
# GPUs; nothing without nvcc
function(snap_cuda_kernels source)
  if(NOT SNAP_NVCC)
    return()
  endif()
  get_filename_component(name ${source} NAME_WE)
  set(made ${CMAKE_CURRENT_BINARY_DIR}/${name}.fatbin)
  add_custom_command(OUTPUT ${made}
    COMMAND ${SNAP_NVCC} -fatbin -gencode arch=compute_90,code=sm_90
            -gencode arch=compute_90,code=compute_90 -o ${made} ${CMAKE_CURRENT_SOURCE_DIR}/${source}
    DEPENDS ${source} VERBATIM)
  add_custom_target(${name} ALL DEPENDS ${made})
endfunction()
