//! [`Counted`]: numbers as a person reads them.

use std::fmt;

/// A number of things, of which the name of one is given.
pub(super) struct Counted(pub(super) u64, pub(super) &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counted(number, one) = self;
        write!(f, "{} {one}{}", Grouped(*number), if *number == 1 { "" } else { "s" })
    }
}

/// A number with its thousands apart.
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at) % 3 == 0 {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_kept_apart() {
        let grouped: Vec<_> = [0, 999, 1_000, 12_345, 1_234_567].map(|number| Grouped(number).to_string()).into();
        assert_eq!(grouped, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn only_one_is_singular() {
        let counted = [0, 1, 1_000].map(|number| Counted(number, "byte").to_string());
        assert_eq!(counted, ["0 bytes", "1 byte", "1,000 bytes"]);
    }
}
