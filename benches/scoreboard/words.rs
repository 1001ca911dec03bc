//! Word counts of a stream, in bounded memory, against rayon over the whole text in memory.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufReader, BufWriter, Write};

use brigade::{CancellationToken, Pipeline, States};
use rayon::iter::ParallelIterator;
use rayon::str::ParallelString;

use crate::THREADS;
use crate::board::{Board, Target};

/// How many bytes the text has.
const SIZE: usize = 1 << 30;
/// How many words there are.
const VOCABULARY: u64 = 20_000;

pub(crate) fn claims(board: &mut Board) {
    let name = ("lines", "word counts of 1 GB, a table a thread, read as a stream / rayon's fold, all read first");
    if board.skips_claim(name) {
        return;
    }
    let token = CancellationToken::new();
    let file = tempfile::NamedTempFile::new().expect("a file for the text");
    let count = write(file.as_file()).expect("room for the text");
    let path = file.path();
    board.claim_often(
        3,
        name,
        count,
        Target::Cost(1.0),
        || {
            let tables = States::new(HashMap::<Box<[u8]>, u64>::new);
            let lines = BufReader::with_capacity(1 << 16, File::open(path).expect("written above"));
            Pipeline::from_byte_lines(lines)
                .threads(THREADS)
                .try_map_init(&tables, |table, line| {
                    for word in line?.split(|byte| *byte == b' ') {
                        match table.get_mut(word) {
                            Some(count) => *count += 1,
                            None => _ = table.insert(word.into(), 1),
                        }
                    }
                    Ok::<_, io::Error>(())
                })
                .for_each(&token, drop)
                .expect("a good disk");
            black_box(tables.into_vec().into_iter().reduce(merged).expect("there are words").len());
        },
        || {
            let text = fs::read_to_string(path).expect("written above");
            let count = |mut table: HashMap<_, u64>, line| {
                str::split(line, ' ').for_each(|word| *table.entry(word).or_default() += 1);
                table
            };
            black_box(text.par_lines().fold(HashMap::new, count).reduce(HashMap::new, merged).len());
        },
    );
}

fn merged<K: Eq + std::hash::Hash>(mut counts: HashMap<K, u64>, others: HashMap<K, u64>) -> HashMap<K, u64> {
    others.into_iter().for_each(|(word, count)| *counts.entry(word).or_default() += count);
    counts
}

/// Writes lines of ten words; returns their number. The early words of the vocabulary are the most frequent.
fn write(file: &File) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let (mut written, mut count, mut number) = (0, 0, 1_u64);
    while written < SIZE {
        let mut line = String::new();
        for at in 0..10 {
            let mut next = || {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (number >> 33) % VOCABULARY
            };
            let word = next().min(next()).min(next());
            line += if at > 0 { " " } else { "" };
            write!(line, "w{:x}", word * 2_654_435_761 % 1_000_003).expect("a string takes it");
        }
        line.push('\n');
        out.write_all(line.as_bytes())?;
        written += line.len();
        count += 1;
    }
    out.flush()?;
    Ok(count)
}
