//! The programs that the compilers on board must build and run.

/// Uses the C library; wants one argument, `you`, and its exit status printed after it.
pub const C_PROGRAM: &str = r#"#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
    char *copy = strdup(argc > 1 ? argv[1] : "nobody");
    FILE *missing = fopen("/nonexistent", "r");
    printf("hello %s, %s\n", copy, missing ? "?" : strerror(errno));
    free(copy);
    return 7;
}
"#;

/// What it prints.
pub const C_OUTPUT: &str = "hello you, No such file or directory\n7";

/// Uses exceptions, threads, `thread_local` with destructors, and iostream.
pub const CPP_PROGRAM: &str = r#"#include <atomic>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
std::atomic<int> destroyed;
struct Counter {
    int value = 0;
    ~Counter() { destroyed += value; }
};
thread_local Counter counter;
void work(int times) {
    for (int i = 0; i < times; ++i) ++counter.value;
}
int main() {
    std::vector<std::thread> threads;
    for (int i = 1; i <= 4; ++i) threads.emplace_back(work, i * 10);
    for (auto &thread : threads) thread.join();
    try {
        std::cout << std::vector<int>().at(3);
    } catch (const std::out_of_range &error) {
        std::cout << "caught, destroyed " << destroyed << std::endl;
    }
    try {
        throw std::runtime_error("own");
    } catch (const std::exception &error) {
        std::cout << error.what() << ' ' << std::stoi("42") << std::endl;
    }
}
"#;
/// What it prints.
pub const CPP_OUTPUT: &str = "caught, destroyed 100\nown 42";
