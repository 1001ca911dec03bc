//! [`Work`]: what a job does.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::ensure;
use brigade::CancellationToken;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many bytes or numbers are worked between two looks at the token.
const STEP: usize = 256 << 10;

/// The largest number below which primes are counted: that takes some minutes, and 8 MB.
const HIGHEST: u64 = 1_000_000_000_000;

/// What a job does. In JSON: `{"kind": "hash", "text": ".."}`, `{"kind": "compress", "text": ".."}` or
/// `{"kind": "primes", "below": 100}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", try_from = "Form")]
pub enum Work {
    /// Computes the SHA-256 of a text.
    Hash {
        /// The text.
        text: String,
    },
    /// Compresses a text to the form of gzip.
    Compress {
        /// The text.
        text: String,
    },
    /// Counts the primes below a number.
    Primes {
        /// The number.
        below: u64,
    },
}

/// The JSON of a [`Work`], as it is read.
///
/// Serde reads an enum with a tag by keeping each field until it has met the tag, in 16 to 32 times the field's bytes.
/// It reads this struct without keeping more than the struct has, and refuses any other field when it meets its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Form {
    kind: Kind,
    text: Option<String>,
    below: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Hash,
    Compress,
    Primes,
}

impl TryFrom<Form> for Work {
    type Error = &'static str;

    fn try_from(form: Form) -> Result<Self, &'static str> {
        match form {
            Form { kind: Kind::Hash, text: Some(text), below: None } => Ok(Work::Hash { text }),
            Form { kind: Kind::Compress, text: Some(text), below: None } => Ok(Work::Compress { text }),
            Form { kind: Kind::Primes, text: None, below: Some(below) } => Ok(Work::Primes { below }),
            Form { kind: Kind::Hash | Kind::Compress, .. } => Err("this kind has the field `text` and no other"),
            Form { kind: Kind::Primes, .. } => Err("this kind has the field `below` and no other"),
        }
    }
}

/// The result of a job that has completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The type of the bytes.
    pub kind: OutputKind,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The types of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// JSON.
    Json,
    /// A file of gzip.
    Gzip,
}

impl OutputKind {
    /// Returns the type's name in HTTP.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            OutputKind::Json => "application/json",
            OutputKind::Gzip => "application/gzip",
        }
    }
}

impl Work {
    /// Checks what the form of the JSON does not.
    ///
    /// # Errors
    ///
    /// A message for the client.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Work::Primes { below } = self {
            ensure!(*below <= HIGHEST, "primes are counted below {HIGHEST} at most");
        }
        Ok(())
    }

    /// Returns the name of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Work::Hash { .. } => "hash",
            Work::Compress { .. } => "compress",
            Work::Primes { .. } => "primes",
        }
    }

    /// Returns how many bytes it holds in memory while it waits, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        let text = match self {
            Work::Hash { text } | Work::Compress { text } => text.len(),
            Work::Primes { .. } => 0,
        };
        1024 + text
    }

    /// Does the work; tells `progress` how much is done, and of how much.
    ///
    /// # Cancellation
    ///
    /// It looks at the token after each 256 KiB of text, or as many numbers.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](brigade::Cancelled).
    pub fn run(&self, token: &CancellationToken, mut progress: impl FnMut(u64, u64)) -> anyhow::Result<Output> {
        let json = |text: String| Output { kind: OutputKind::Json, bytes: text.into_bytes() };
        match self {
            Work::Hash { text } => {
                let mut hash = Sha256::new();
                each_part(text, token, progress, |part| {
                    hash.update(part);
                    Ok(())
                })?;
                let mut answer = String::from("{\"sha256\":\"");
                for byte in hash.finalize() {
                    _ = write!(answer, "{byte:02x}");
                }
                _ = write!(answer, "\",\"bytes\":{}}}", text.len());
                Ok(json(answer))
            }
            Work::Compress { text } => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                each_part(text, token, progress, |part| Ok(encoder.write_all(part)?))?;
                Ok(Output { kind: OutputKind::Gzip, bytes: encoder.finish()? })
            }
            Work::Primes { below } => {
                let primes = count_primes(*below, token, &mut progress)?;
                Ok(json(format!("{{\"primes\":{primes},\"below\":{below}}}")))
            }
        }
    }
}

fn each_part(
    text: &str,
    token: &CancellationToken,
    mut progress: impl FnMut(u64, u64),
    mut f: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut done = 0;
    for part in text.as_bytes().chunks(STEP) {
        token.check()?;
        f(part)?;
        done += part.len();
        progress(done as u64, text.len() as u64);
    }
    Ok(())
}

/// Counts primes by the sieve of Eratosthenes, a segment at a time.
fn count_primes(below: u64, token: &CancellationToken, progress: &mut impl FnMut(u64, u64)) -> anyhow::Result<u64> {
    let root = below.saturating_sub(1).isqrt();
    let small = small_primes(usize::try_from(root)?);
    let mut composite = vec![false; STEP];
    let (mut count, mut low) = (0, 2);
    while low < below {
        token.check()?;
        let high = below.min(low + STEP as u64);
        let segment = &mut composite[..usize::try_from(high - low)?];
        segment.fill(false);
        for prime in small.iter().take_while(|prime| **prime * **prime < high) {
            let first = (prime * prime).max(low.next_multiple_of(*prime));
            for at in (usize::try_from(first - low)?..segment.len()).step_by(usize::try_from(*prime)?) {
                segment[at] = true;
            }
        }
        count += segment.iter().filter(|composite| !**composite).count() as u64;
        low = high;
        progress(low, below);
    }
    Ok(count)
}

/// The primes up to a number.
fn small_primes(last: usize) -> Vec<u64> {
    let mut composite = vec![false; last + 1];
    let mut primes = Vec::new();
    for number in 2..=last {
        if !composite[number] {
            primes.push(number as u64);
            (number * number..=last).step_by(number).for_each(|multiple| composite[multiple] = true);
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn run(work: &Work) -> Output {
        work.run(&CancellationToken::new(), |_, _| {}).expect("it is not cancelled")
    }

    #[test]
    fn a_wrong_field_is_refused_before_its_value_is_read() {
        // What is behind the name is no JSON: a reader that keeps the value complains of that instead.
        for text in [r#"{"kind": "hash", "x": [0, 0, !"#, r#"{"x": [0, 0, !"#, r#"{"text": "", "x": !"#] {
            let error = serde_json::from_str::<Work>(text).expect_err("a wrong field").to_string();
            assert!(error.starts_with("unknown field `x`"), "{error}");
        }
    }

    #[test]
    fn each_kind_has_its_own_field() {
        let read = |text: &str| serde_json::from_str::<Work>(text).map_err(|error| error.to_string());
        for work in [Work::Hash { text: "a".into() }, Work::Compress { text: "a".into() }, Work::Primes { below: 7 }] {
            assert_eq!(read(&serde_json::to_string(&work).expect("text")), Ok(work));
        }
        assert_eq!(read(r#"{"below": 7, "kind": "primes"}"#), Ok(Work::Primes { below: 7 }));
        for wrong in [
            r#"{"kind": "hash"}"#,
            r#"{"kind": "hash", "below": 1}"#,
            r#"{"kind": "compress", "text": "a", "below": 1}"#,
            r#"{"kind": "primes", "text": "a", "below": 1}"#,
            r#"{"kind": "primes", "below": "1"}"#,
            r#"{"kind": "primes", "below": 1, "below": 1}"#,
            r#"{"text": "a"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn primes_are_counted_as_by_trial_division() {
        let is_prime = |number: u64| number > 1 && !(2..number).any(|divisor| number.is_multiple_of(divisor));
        for below in (0..200).chain([961, 962, 1_000]) {
            let expected = (0..below).filter(|number| is_prime(*number)).count();
            let counted = run(&Work::Primes { below });
            assert_eq!(counted.bytes, format!("{{\"primes\":{expected},\"below\":{below}}}").into_bytes());
        }
        // Several segments.
        assert_eq!(run(&Work::Primes { below: 1_000_000 }).bytes, br#"{"primes":78498,"below":1000000}"#);
    }

    #[test]
    fn a_hash_is_that_of_the_standard() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let output = run(&Work::Hash { text: "abc".to_owned() });
        assert_eq!(
            String::from_utf8(output.bytes).expect("text"),
            format!("{{\"sha256\":\"{expected}\",\"bytes\":3}}")
        );
    }

    #[test]
    fn a_text_survives_compression() {
        let text = "brigade ".repeat(100_000);
        let output = run(&Work::Compress { text: text.clone() });
        assert!(output.bytes.len() < text.len() / 10);
        let mut back = String::new();
        flate2::read::GzDecoder::new(&*output.bytes).read_to_string(&mut back).expect("a gzip file");
        assert_eq!(back, text);
    }

    #[test]
    fn a_cancel_ends_the_work() {
        let token = CancellationToken::new();
        let mut seen = 0;
        let error = Work::Primes { below: HIGHEST }
            .run(&token, |_, _| {
                seen += 1;
                if seen == 3 {
                    token.cancel();
                }
            })
            .expect_err("it is cancelled");
        assert!(error.is::<brigade::Cancelled>());
        assert_eq!(seen, 3);
    }
}
