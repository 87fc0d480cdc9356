//! `inspect FILE...`: what `lifeboat image inspect` would say, as JSON.

use std::path::Path;
use std::process::ExitCode;

use lifeboat_images::{Confined, confined_main, inspect};

const READER: &str = "confined-reader";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|word| word == READER) {
        return confined_main(args.skip(1));
    }
    let confined = Confined::this_program([READER]);
    let mut all_fine = true;
    for path in args {
        let described = inspect(&confined, Path::new(&path), &[]);
        match described.map(|inspection| serde_json::to_string_pretty(&inspection)) {
            Ok(Ok(json)) => println!("{json}"),
            Ok(Err(error)) => eprintln!("error: {error}"),
            Err(error) => {
                eprintln!("error: {error}");
                all_fine = false;
            }
        }
    }
    if all_fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
