// Exits with 0 when exceptions, threads, thread-local destructors and streams work.
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <thread>

static int destroyed = 0;

struct Counted {
  ~Counted() { ++destroyed; }
  void touch() {}
};

static thread_local Counted counted;

static int caught() {
  try {
    throw std::runtime_error("thrown");
  } catch (const std::exception &error) {
    return std::string(error.what()) == "thrown";
  }
}

int main() {
  std::thread([] { counted.touch(); }).join();
  std::ostringstream text;
  text << 6 * 7 << ' ' << 1.5;
  const bool good = caught() && destroyed == 1 && text.str() == "42 1.5";
  std::cout << (good ? "good" : "bad") << '\n';
  return good ? 0 : 1;
}
