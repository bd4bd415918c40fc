// llvm-profdata as a tool of the multicall binary; see strings.cpp.
#include "llvm/Support/LLVMDriver.h"

#define main standalone_profdata_main
#include "llvm-profdata.cpp"
#undef main

int driver_profdata_main(int argc, char **argv, const llvm::ToolContext &) {
  return standalone_profdata_main(argc, const_cast<const char **>(argv));
}
