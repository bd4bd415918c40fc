// Many instances of libc++'s heaviest templates, for `allocator`: what a user's C++ costs, where LLVM's own units,
// without exceptions and RTTI, are only one kind of it.
#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <iostream>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N> struct tag {
  int value = N;
  auto operator<=>(const tag &) const = default;
};

template <int N> struct std::hash<tag<N>> {
  size_t operator()(const tag<N> &key) const noexcept { return hash<int>()(key.value); }
};

template <int N> using any_of_four = std::variant<tag<N>, tag<N + 1>, std::string, std::vector<tag<N>>>;

template <int N> size_t visit_all(const std::vector<any_of_four<N>> &values) {
  size_t sum = 0;
  for (const auto &value : values)
    sum += std::visit(
        [](const auto &held) -> size_t {
          if constexpr (requires { held.size(); })
            return held.size();
          else
            return held.value;
        },
        value);
  return sum;
}

template <int N> std::string use_containers() {
  std::map<std::string, std::vector<tag<N>>> by_name;
  std::unordered_map<tag<N>, std::optional<std::string>> by_tag;
  std::set<std::tuple<int, tag<N>, std::string>> tuples;
  std::deque<std::shared_ptr<tag<N>>> queue;
  std::list<std::function<tag<N>(tag<N>)>> steps;
  for (int i = 0; i < N; i++) {
    by_name[std::to_string(i)].push_back({i});
    by_tag.try_emplace({i}, std::to_string(i));
    tuples.emplace(i, tag<N>{i}, std::to_string(i));
    queue.push_back(std::make_shared<tag<N>>());
    steps.push_back([i](tag<N> before) { return tag<N>{before.value + i}; });
  }
  std::vector<tag<N>> all;
  for (auto &[name, tags] : by_name)
    all.insert(all.end(), tags.begin(), tags.end());
  std::stable_sort(all.begin(), all.end(), std::greater<>());
  std::sort(queue.begin(), queue.end(), [](const auto &a, const auto &b) { return *a < *b; });
  auto last = std::accumulate(steps.begin(), steps.end(), tag<N>{}, [](auto before, auto &step) { return step(before); });
  std::ostringstream text;
  text << all.size() << by_tag.size() << tuples.size() << last.value
       << visit_all<N>({tag<N>{}, std::string("text"), all, tag<N + 1>{}});
  return text.str();
}

template <int... N> void use_all(std::integer_sequence<int, N...>) {
  ((std::cout << use_containers<N>() << std::regex_replace(use_containers<N>(), std::regex("[0-9]+"), "x") << '\n'), ...);
}

int main() { use_all(std::make_integer_sequence<int, 6>()); }
