// llvm-strings as a tool of the multicall binary: upstream's file gives a `main`, the driver wants
// `<name>_main` with the context of the call.
#include "llvm/Support/LLVMDriver.h"

#define main standalone_strings_main
#include "llvm-strings.cpp"
#undef main

int driver_strings_main(int argc, char **argv, const llvm::ToolContext &) {
  return standalone_strings_main(argc, argv);
}
