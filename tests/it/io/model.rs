//! No byte is lost or doubled, whenever a read or a write is cancelled and taken up again.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brigade::io::{Input, Output};
use brigade::{CancellationToken, scope};

use super::pipe;
use super::terminal::raw_terminal;
use crate::util::{live, watched};

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn byte(at: usize) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 11).to_le_bytes()[0]
}

/// A token that is cancelled soon, or at once, by a deadline.
fn soon(random: &mut Random) -> CancellationToken {
    live().child_with_timeout(Duration::from_micros(random.below(200)))
}

/// Writes and reads through `ends`, each side cancelled at random, until together they were cancelled `cancels` times.
fn carry(ends: (OwnedFd, OwnedFd), seed: u64, cancels: u64) {
    let count = &AtomicU64::new(0);
    let is_enough = || count.load(Ordering::Relaxed) >= cancels;
    let (reader, writer) = ends;
    let written = scope(&live(), |s| {
        let writer = s.spawn(move |_| {
            let mut output = Output::new(writer);
            let mut random = Random(seed);
            let mut written = 0;
            while !is_enough() {
                let token = soon(&mut random);
                let mut view = output.until(&token);
                loop {
                    let length = usize::try_from(random.below(9000)).unwrap();
                    let bytes: Vec<u8> = (written..=written + length).map(byte).collect();
                    match view.write(&bytes) {
                        Ok(length) => written += length,
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                        Err(error) => return Err(error),
                    }
                    if random.below(4) == 0 {
                        // A pipe that dribbles, or idles.
                        let _ = token.sleep(Duration::from_micros(random.below(100)));
                    }
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(written)
        })?;
        let mut input = Input::with_capacity(5000, reader);
        let mut random = Random(seed + 1);
        let mut read = 0;
        let mut buffer = vec![0; 6000];
        'all: loop {
            let token = soon(&mut random);
            let mut view = input.until(&token);
            loop {
                let most = usize::try_from(random.below(6000) + 1).unwrap();
                let taken = match random.below(2) {
                    0 => view.read(&mut buffer[..most]),
                    _ => view
                        .fill_buf()
                        .map(|bytes| {
                            let taken = bytes.len().min(most);
                            buffer[..taken].copy_from_slice(&bytes[..taken]);
                            taken
                        })
                        .inspect(|taken| view.consume(*taken)),
                };
                match taken {
                    Ok(0) => break 'all,
                    Ok(taken) => {
                        assert!(buffer[..taken].iter().zip(read..).all(|(found, at)| *found == byte(at)), "at {read}");
                        read += taken;
                    }
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                    // So a terminal ends for the person's side.
                    Err(error) if error.raw_os_error() == Some(5) => break 'all,
                    Err(error) => return Err(error),
                }
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(writer.join()?, read);
        Ok(read)
    });
    assert!(written.unwrap() > 100_000);
}

#[test]
fn ten_thousand_random_cancels_lose_and_double_no_byte_of_a_pipe() {
    watched(|| carry(pipe(), 1, 10_000));
}

#[test]
fn random_cancels_lose_and_double_no_byte_of_a_socket() {
    watched(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        carry((ours.into(), theirs.into()), 3, 3_000);
    });
}

#[test]
fn random_cancels_lose_and_double_no_byte_of_a_terminal() {
    watched(|| {
        let (person, program) = raw_terminal();
        carry((person.into(), program.into()), 5, 3_000);
    });
}

#[test]
fn random_cancels_lose_and_double_no_byte_of_a_pipe_that_others_made_non_blocking() {
    watched(|| {
        let (reader, writer) = pipe();
        for end in [&reader, &writer] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        carry((reader, writer), 7, 3_000);
    });
}
