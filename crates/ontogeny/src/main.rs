//! The binary: arguments in, exit code out.

mod cli;
mod commands;
mod progress;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    let outcome = std::panic::catch_unwind(|| commands::dispatch(&arguments));
    let code = match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            terminal::say(&format!("error: {error}"));
            error.exit_code()
        }
        Err(_) => {
            terminal::say("this is a bug in ontogeny: please report it with the lines above and the command");
            cli::exit::BUG
        }
    };
    ExitCode::from(code)
}
