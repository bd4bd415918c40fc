// llvm-cov, also under the name gcov, as a tool of the multicall binary; see strings.cpp.
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/LLVMDriver.h"

#define main standalone_cov_main
#include "llvm-cov.cpp"
#undef main

int driver_cov_main(int argc, char **argv, const llvm::ToolContext &) {
  // Options are global: llvm-profdata, in the same program, has some of the same names, and two of one name are fatal.
  llvm::cl::ResetCommandLineParser();
  return standalone_cov_main(argc, const_cast<const char **>(argv));
}
