//! The program: what was typed, what it means, an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    onward::cli::main()
}
