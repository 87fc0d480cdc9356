//! The confined reader: the one program of Lifeboat that parses images. It is started by the
//! others, answers one question and ends.

use std::process::ExitCode;

fn main() -> ExitCode {
    lifeboat_images::confined_main(std::env::args_os().skip(1))
}
