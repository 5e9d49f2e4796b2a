# SPDX-License-Identifier: Apache-2.0
if(SNAP_SANITIZE)
  add_compile_options(-fsanitize=${SNAP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SNAP_SANITIZE})
endif()
