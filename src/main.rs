//! The `postrider` command: reads the command line and runs one role.

use std::process::ExitCode;

/// Many small allocations of many threads: the system's allocator took a tenth of the time here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    postrider::cli::main()
}
