//! Reads that a token can end, against std's.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::thread;

use brigade::CancellationToken;
use brigade::io::Input;
use rustix::pipe::pipe;

use crate::board::{Board, Target, Turn, time};

const SIZE: usize = 1 << 30;
/// As a program would write lines: into a buffer.
const WRITTEN: usize = 64 << 10;
const TURNS: usize = 7;

pub(crate) fn claims(board: &mut Board) {
    if board.skips("io") {
        return;
    }
    let block = text();
    let lines = (SIZE / 77) as u64;
    claim(board, "lines of a pipe of 1 GB", lines, &block, |reader| {
        let (mut line, mut sum) = (Vec::new(), 0_u64);
        while reader.read_until(b'\n', &mut line).expect("the pipe is open") > 0 {
            sum = sum.wrapping_add(line.len() as u64);
            line.clear();
        }
        black_box(sum);
    });
    claim(board, "bytes of a pipe of 1 GB", SIZE as u64, &block, |reader| {
        let mut sum = 0_usize;
        loop {
            let bytes = reader.fill_buf().expect("the pipe is open").len();
            if bytes == 0 {
                break;
            }
            sum += bytes;
            reader.consume(bytes);
        }
        black_box(sum);
    });
}

/// A block of lines of 77 bytes.
fn text() -> Vec<u8> {
    let line = [vec![b'x'; 76], vec![b'\n']].concat();
    line.into_iter().cycle().take(WRITTEN).collect()
}

/// Claims wall and CPU time of the same turns.
fn claim(board: &mut Board, claim: &str, items: u64, block: &[u8], read: impl Fn(&mut dyn BufRead)) {
    let token = CancellationToken::new();
    let (wall, cpu) = (format!("{claim} / BufReader, wall"), format!("{claim} / BufReader, CPU"));
    if board.skips_claim(("io", &wall)) && board.skips_claim(("io", &cpu)) {
        return;
    }
    let turn = || {
        let ours = time(|| piped(block, |pipe| read(&mut Input::new(pipe).until(&token))));
        let peer = time(|| piped(block, |pipe| read(&mut BufReader::new(pipe))));
        (ours, peer)
    };
    turn();
    let turns: Vec<Turn> = (0..TURNS).map(|_| turn()).collect();
    board.claim_turns(("io", &wall), items, Target::Cost(1.05), &turns);
    board.claim_turns(("io", &cpu), items, Target::Cpu(1.15), &turns);
}

/// Has `read` read what a thread writes into a pipe.
#[expect(clippy::disallowed_methods, reason = "the other end of the pipe is no part of what is measured")]
fn piped(block: &[u8], read: impl FnOnce(File)) {
    let (reader, writer) = pipe().expect("a pipe");
    let mut writer = File::from(writer);
    thread::scope(|scope| {
        scope.spawn(move || (0..SIZE / WRITTEN).for_each(|_| writer.write_all(block).expect("the reader is there")));
        read(File::from(reader));
    });
}
