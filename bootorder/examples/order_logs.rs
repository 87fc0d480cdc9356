//! Orders a directory of machine folders: `order_logs DIR [--json|--dot|--svg|--identity]`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use lifeboat_bootorder::{Options, machine_identity, order, read_directory};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(directory) = arguments.first() else {
        eprintln!("usage: order_logs DIR [--json|--dot|--svg|--identity]");
        return ExitCode::from(2);
    };
    match run(Path::new(directory), arguments.get(1).map(String::as_str)) {
        Ok(text) => match writeln!(std::io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("failed to order `{directory}`: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &Path, form: Option<&str>) -> Result<String, Box<dyn std::error::Error>> {
    let machines = read_directory(directory)?;
    if form == Some("--identity") {
        let all: Vec<_> = machines
            .iter()
            .map(|m| (&m.name, machine_identity(&m.folder)))
            .collect();
        return Ok(serde_json::to_string_pretty(&all)?);
    }
    let order = order(&machines, &[], &Options::default());
    Ok(match form {
        Some("--json") => serde_json::to_string_pretty(&order)?,
        Some("--dot") => order.to_dot(),
        Some("--svg") => order.to_svg(),
        _ => order.to_text(),
    })
}
