#pragma once
/// Ctrl-C and SIGTERM: the first asks the running command to save and stop, the second ends it.

namespace pivot {

/// Installs the handlers for SIGINT and SIGTERM for the rest of the process.
void catch_interrupts();
/// True once a signal has arrived.
bool interrupted();
/// For tests: as if no signal had arrived.
void clear_interrupt();

}  // namespace pivot
