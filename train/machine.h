#pragma once
/// Memory of this machine, as far as this process may use it.

#include <cstddef>
#include <string_view>

namespace pivot {

struct MachineMemory {
  size_t total = 0;      // the smaller of the machine's memory and the container's limit
  size_t available = 0;  // of that, what can be taken without swapping now
};
MachineMemory machine_memory();

/// "4GiB", "512MiB", "8G", "1.5g", plain bytes. Throws UserError.
size_t parse_bytes(std::string_view text);

}  // namespace pivot
