#pragma once

#include <cstddef>
#include <string>

namespace llmkit {

/// CPUs this process may use: its affinity mask, capped by its cgroup's quota (v1 and v2). >= 1.
size_t available_cpus();

/// CPUs that the quotas above `membership` (the text of /proc/self/cgroup) allow, rounded up; 0
/// without a quota. `root` is where the control groups are mounted: /sys/fs/cgroup.
size_t cgroup_cpus(const std::string& root, const std::string& membership);

}  // namespace llmkit
