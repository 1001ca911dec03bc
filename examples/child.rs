//! The output of another program through a pipeline, until a signal: `child COMMAND [ARGUMENT...]` counts its words.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use brigade::io::{self, Input};
use brigade::{CancellationToken, Pipeline, scope, signal};

/// Shorter than the grace of the signal guard, so that the command ends before this program has to.
const GRACE: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<ExitCode> {
    let token = CancellationToken::new();
    let _guard = signal::cancel_on_signals(&token)?;
    Ok(signal::exit(&token, print_words(&token)))
}

fn print_words(token: &CancellationToken) -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().context("which command?")?;
    println!("{}", words(Command::new(program).args(arguments), token)?);
    Ok(())
}

/// Counts the words that a command writes.
fn words(command: &mut Command, token: &CancellationToken) -> anyhow::Result<usize> {
    // With a group of its own, all that the command has started ends with it.
    let command = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    scope(token, |s| {
        let mut child = command.spawn().with_context(|| command.get_program().to_string_lossy().into_owned())?;
        let output = Input::new(child.stdout.take().expect("piped"));
        // If the pipeline fails, the scope's token ends the command; if the program gets a signal, `token` does.
        let child = s.named("command").spawn(move |s| Ok(io::wait(&mut child, s.token(), GRACE)?))?;
        let words = Pipeline::from_lines(output).try_map(|line| anyhow::Ok(line?.split_whitespace().count())).fold(
            s.token(),
            0,
            |sum, words| sum + words,
        )?;
        let status = child.join()?;
        anyhow::ensure!(status.success(), "the command failed: {status}");
        Ok(words)
    })
}

#[test]
fn it_counts_the_words_of_a_command() -> anyhow::Result<()> {
    let token = CancellationToken::new();
    assert_eq!(words(Command::new("printf").arg("one two\nthree\n"), &token)?, 3);
    assert_eq!(words(&mut Command::new("true"), &token)?, 0);
    assert_eq!(
        words(&mut Command::new("false"), &token).unwrap_err().to_string(),
        "the command failed: exit status: 1"
    );
    Ok(())
}
