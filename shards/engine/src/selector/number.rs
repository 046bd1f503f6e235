//! Numbers in selectors: the integer and floating point literals of Java (JMS 2.0 §3.8.1.1), as the
//! reference broker reads them. `_` may stand between digits; `L` may end an integer, `F` and `D` a
//! floating point number, which change nothing: exact numerics have 64 bits and approximate ones
//! are doubles.

const DIGIT: &str = "a digit";
const HOLDS_INTEGER: &str = "an integer that fits into 64 bits";
const HOLDS_DOUBLE: &str = "a number that a double can hold";

/// A numeric literal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Exact(Integer),
    Approx(f64),
}

/// An integer without its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer {
    bits: u64,
    is_decimal: bool,
}

impl Integer {
    /// With its sign. A decimal one must be in range; any other one is a pattern of 64 bits.
    pub(super) fn signed(self, is_negative: bool) -> Result<i64, &'static str> {
        let value = self.bits as i64;
        let negated = value.wrapping_neg();
        match (self.is_decimal, is_negative) {
            (false, false) => Ok(value),
            (false, true) => Ok(negated),
            (true, false) if value >= 0 => Ok(value),
            // The least integer is its own negative.
            (true, true) if value >= 0 || value == i64::MIN => Ok(negated),
            (true, _) => Err(HOLDS_INTEGER),
        }
    }
}

/// What is wrong with a number: what should stand so many octets behind its start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) expected: &'static str,
    pub(super) at: usize,
}

/// Reads the number that `text` begins with, by a digit or a point, and says how long it is.
pub(super) fn scan(text: &str) -> Result<(Number, usize), Malformed> {
    let mut scan = Scan { text: text.as_bytes(), at: 0 };
    let number = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => scan.hexadecimal()?,
        [b'0', b'b' | b'B', ..] => {
            scan.at = 2;
            scan.some_digits(2, "a binary digit")?;
            scan.integer(2, 2)?
        }
        [b'0', b'.' | b'e' | b'E' | b'f' | b'F' | b'd' | b'D', ..] => scan.decimal()?,
        [b'0', ..] => {
            scan.digits(8);
            scan.integer(0, 8)?
        }
        _ => scan.decimal()?,
    };
    Ok((number, scan.at))
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Passes over one of the letters of either case, if one comes.
    fn take(&mut self, letters: &[u8]) -> bool {
        let taken = self.peek().is_some_and(|octet| letters.contains(&octet.to_ascii_lowercase()));
        self.at += usize::from(taken);
        taken
    }

    fn malformed<T>(&self, expected: &'static str) -> Result<T, Malformed> {
        Err(Malformed { expected, at: self.at })
    }

    /// Passes over digits, and `_` between and behind them.
    fn digits(&mut self, base: u32) {
        while self.peek().is_some_and(|octet| octet == b'_' || char::from(octet).is_digit(base)) {
            self.at += 1;
        }
    }

    /// The same where a digit must come.
    fn some_digits(&mut self, base: u32, expected: &'static str) -> Result<(), Malformed> {
        if !self.peek().is_some_and(|octet| char::from(octet).is_digit(base)) {
            return self.malformed(expected);
        }
        self.digits(base);
        Ok(())
    }

    /// The digits that stand from `from` to here.
    fn digits_from(&self, from: usize, base: u32) -> impl Iterator<Item = u64> {
        self.text[from..self.at]
            .iter()
            .filter_map(move |octet| char::from(*octet).to_digit(base))
            .map(u64::from)
    }

    /// The digits since `from` are an integer; an `L` may follow.
    fn integer(&mut self, from: usize, base: u32) -> Result<Number, Malformed> {
        let bits = self
            .digits_from(from, base)
            .try_fold(0u64, |bits, digit| bits.checked_mul(u64::from(base))?.checked_add(digit));
        let Some(bits) = bits else {
            return Err(Malformed { expected: HOLDS_INTEGER, at: 0 });
        };
        self.take(b"l");
        Ok(Number::Exact(Integer { bits, is_decimal: base == 10 }))
    }

    /// Digits, a fraction and an exponent, of which the first or the second must be there.
    fn decimal(&mut self) -> Result<Number, Malformed> {
        self.digits(10);
        if self.take(b".") {
            if self.at == 1 {
                self.some_digits(10, DIGIT)?;
            }
            self.digits(10);
        } else if !matches!(self.peek(), Some(b'e' | b'E' | b'f' | b'F' | b'd' | b'D')) {
            return self.integer(0, 10);
        }
        let mantissa = self.at;
        if self.take(b"e") {
            self.exponent()?;
        }
        let octets = self.text[..self.at].iter().filter(|octet| **octet != b'_');
        let text: String = octets.map(|octet| char::from(*octet)).collect();
        let is_zero = self.text[..mantissa].iter().all(|octet| !matches!(octet, b'1'..=b'9'));
        self.take(b"fd");
        match text.parse() {
            Ok(value) => double(value, is_zero),
            Err(_) => Err(Malformed { expected: HOLDS_DOUBLE, at: 0 }),
        }
    }

    /// `0x`, digits, and a power of two by which they are multiplied: then it is approximate.
    fn hexadecimal(&mut self) -> Result<Number, Malformed> {
        self.at = 2;
        self.some_digits(16, "a hexadecimal digit")?;
        let end = self.at;
        if !self.take(b"p") {
            return self.integer(2, 16);
        }
        let mut power = i64::from(self.exponent()?);
        self.take(b"fd");
        let mut mantissa = 0u64;
        let mantissa_text = Scan { text: self.text, at: end };
        for digit in mantissa_text.digits_from(2, 16) {
            if mantissa >> 60 == 0 {
                mantissa = mantissa << 4 | digit;
            } else {
                // Too small to count, but not for which way a tie is rounded.
                mantissa |= u64::from(digit != 0);
                power += 4;
            }
        }
        let power = power.clamp(-1200, 1200) as i32;
        let value = mantissa as f64 * power_of_two(power / 2) * power_of_two(power - power / 2);
        double(value, mantissa == 0)
    }

    /// A sign and at least one digit.
    fn exponent(&mut self) -> Result<i32, Malformed> {
        let is_negative = self.peek() == Some(b'-');
        self.take(b"+-");
        let from = self.at;
        if !self.peek().is_some_and(|octet| octet.is_ascii_digit()) {
            return self.malformed(DIGIT);
        }
        while self.peek().is_some_and(|octet| octet.is_ascii_digit()) {
            self.at += 1;
        }
        // Saturating beyond what any number of digits could make up for.
        let digits = self.digits_from(from, 10);
        let value = digits.fold(0, |sum, digit| (sum * 10 + digit as i32).min(1 << 24));
        Ok(if is_negative { -value } else { value })
    }
}

/// Exact for exponents from -1022 to 1023.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + i64::from(exponent)) as u64) << 52)
}

/// Neither too large nor so small that digits are lost.
fn double(value: f64, is_zero: bool) -> Result<Number, Malformed> {
    match value.is_normal() || is_zero {
        true => Ok(Number::Approx(value)),
        false => Err(Malformed { expected: HOLDS_DOUBLE, at: 0 }),
    }
}
