#pragma once
/// Ctrl-C and SIGTERM: the first asks the running command to save and stop, the second ends it.

namespace pivot {

/// Installs the handlers for SIGINT and SIGTERM for the rest of the process.
void catch_interrupts();
/// True once a signal has arrived.
bool interrupted();
/// True if it was SIGTERM: the program is to end, not only what it is doing.
bool terminated();
/// As if no signal had arrived: an interactive command stops an answer and goes on.
void clear_interrupt();

}  // namespace pivot
