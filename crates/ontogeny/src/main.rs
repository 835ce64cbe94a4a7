//! The binary: arguments in, exit code out.

mod bench;
mod cli;
mod commands;
mod progress;
mod study_cli;
mod sweep_progress;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    let outcome = std::panic::catch_unwind(|| commands::dispatch(&arguments));
    let code = match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            terminal::say(&format!("error: {}", with_causes(&error)));
            error.exit_code()
        }
        Err(_) => {
            terminal::say("this is a bug in ontogeny: please report it with the lines above and the command");
            cli::exit::BUG
        }
    };
    ExitCode::from(code)
}

/// An error with those of its causes that its own message does not say already.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let message = inner.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = inner.source();
    }
    text
}
