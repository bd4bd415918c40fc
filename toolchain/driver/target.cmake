# CMake's description of the target (cmake-toolchains(7)): its own programs, headers, libraries and packages, and none of the
# machine that builds. CMAKE_TOOLCHAIN_FILE names this file.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR @MACHINE@)

set(CMAKE_C_COMPILER "@ROOT@/bin/clang")
set(CMAKE_CXX_COMPILER "@ROOT@/bin/clang++")
set(CMAKE_ASM_COMPILER "@ROOT@/bin/clang")
foreach(LANGUAGE C CXX ASM)
  set(CMAKE_${LANGUAGE}_COMPILER_TARGET @TARGET@)
endforeach()
foreach(TOOL AR NM RANLIB STRIP OBJCOPY OBJDUMP READELF)
  string(TOLOWER ${TOOL} NAME)
  set(CMAKE_${TOOL} "@ROOT@/bin/llvm-${NAME}" CACHE FILEPATH "")
endforeach()

set(CMAKE_SYSROOT "@ROOT@/@TARGET@")
set(CMAKE_FIND_ROOT_PATH "${CMAKE_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER) # Generators and the like run on the machine that builds.
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

set(ENV{PKG_CONFIG_LIBDIR} "${CMAKE_SYSROOT}/usr/lib/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${CMAKE_SYSROOT}")
