//! The confined reader as a program of its own, for tests and for use of the crate without the
//! appliance, which has it as a hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    lifeboat_images::confined_main(std::env::args_os().skip(1))
}
