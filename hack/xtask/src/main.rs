//! Checks of the code that no compiler makes: `cargo run -p xtask -- tidy`.

mod architecture;
mod modules;
mod tidy;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => tidy::run(),
        _ => {
            eprintln!("usage: cargo run -p xtask -- tidy");
            ExitCode::from(64)
        }
    }
}
