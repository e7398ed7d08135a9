#include "base/available_cpus.h"

#include <fstream>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace llmkit {
namespace {

/// A number of a control file; -1 when it is "max" or absent.
long read_number(std::istream& in) {
  long value = -1;
  in >> value;
  return in ? value : -1;
}

size_t cpus_of(long quota, long period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<size_t>((quota + period - 1) / period);
}

size_t quota_in(const std::string& folder) {
  std::ifstream v2(folder + "/cpu.max");
  if (v2) {
    const long quota = read_number(v2);
    return quota < 0 ? 0 : cpus_of(quota, read_number(v2));
  }
  std::ifstream quota(folder + "/cpu.cfs_quota_us");
  std::ifstream period(folder + "/cpu.cfs_period_us");
  return quota && period ? cpus_of(read_number(quota), read_number(period)) : 0;
}

/// The smaller limit; 0 is none.
size_t tighter(size_t a, size_t b) {
  if (a == 0 || b == 0) return a + b;
  return a < b ? a : b;
}

/// The tightest quota of a group and of the groups above it.
size_t quota_above(const std::string& mount, std::string path) {
  size_t limit = 0;
  while (!path.empty() && path != "/") {
    limit = tighter(limit, quota_in(mount + path));
    path.resize(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
  }
  return tighter(limit, quota_in(mount));
}

bool names_cpu(const std::string& controllers) {
  std::istringstream list(controllers);
  for (std::string name; std::getline(list, name, ',');)
    if (name == "cpu") return true;
  return false;
}

size_t affinity_cpus() {
#if defined(__linux__)
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return static_cast<size_t>(CPU_COUNT(&mask));
#endif
  return std::thread::hardware_concurrency();
}

}  // namespace

size_t cgroup_cpus(const std::string& root, const std::string& membership) {
  size_t limit = 0;
  std::istringstream lines(membership);
  for (std::string line; std::getline(lines, line);) {  // hierarchy:controllers:path
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) limit = tighter(limit, quota_above(root, path));
    if (names_cpu(controllers)) limit = tighter(limit, quota_above(root + "/cpu", path));
  }
  return limit;
}

size_t available_cpus() {
  std::ifstream file("/proc/self/cgroup");
  std::stringstream membership;
  membership << file.rdbuf();
  const size_t cpus = tighter(affinity_cpus(), cgroup_cpus("/sys/fs/cgroup", membership.str()));
  return cpus == 0 ? 1 : cpus;
}

}  // namespace llmkit
