//! Semantic versions, as strict as the specification, or lenient on request.

use std::cmp::Ordering;
use std::fmt;

/// A version. What is built from what does not matter to its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    pub numbers: [u64; 3],
    pre: Vec<Part>,
    build: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Text(String),
}

const NAMES: [&str; 3] = ["major", "minor", "patch"];

impl Semver {
    /// Reads a version; a lenient one may have a `v`, leading zeros and missing parts.
    pub(crate) fn parse(text: &str, lenient: bool) -> Result<Semver, String> {
        if lenient {
            return Semver::parse_strict(&normalized(text));
        }
        Semver::parse_strict(text)
    }

    fn parse_strict(text: &str) -> Result<Semver, String> {
        if text.is_empty() {
            return Err("Version string empty".into());
        }
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, rest] = parts[..] else { return Err("No Major.Minor.Patch elements found".into()) };
        let (rest, build) = match rest.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (rest, None),
        };
        let (patch, pre) = match rest.split_once('-') {
            Some((patch, pre)) => (patch, Some(pre)),
            None => (rest, None),
        };
        let mut numbers = [0; 3];
        for (i, digits) in [major, minor, patch].into_iter().enumerate() {
            let name = NAMES[i];
            if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.is_empty() && i < 2 {
                return Err(format!("Invalid character(s) found in {name} number {digits:?}"));
            }
            if digits.len() > 1 && digits.starts_with('0') {
                let capital = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
                return Err(format!("{capital} number must not contain leading zeroes {digits:?}"));
            }
            numbers[i] = digits.parse().map_err(|_| {
                let why = if digits.is_empty() { "invalid syntax" } else { "value out of range" };
                format!("strconv.ParseUint: parsing {digits:?}: {why}")
            })?;
        }
        let allowed = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let mut labels = Vec::new();
        for part in pre.into_iter().flat_map(|pre| pre.split('.')) {
            if part.is_empty() {
                return Err("Prerelease is empty".into());
            }
            if part.bytes().all(|b| b.is_ascii_digit()) {
                if part.len() > 1 && part.starts_with('0') {
                    return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
                }
                let number =
                    part.parse().map_err(|_| format!("strconv.ParseUint: parsing {part:?}: value out of range"))?;
                labels.push(Part::Number(number));
            } else if allowed(part) {
                labels.push(Part::Text(part.to_owned()));
            } else {
                return Err(format!("Invalid character(s) found in prerelease {part:?}"));
            }
        }
        for part in build.into_iter().flat_map(|build| build.split('.')) {
            if part.is_empty() {
                return Err("Build meta data is empty".into());
            }
            if !allowed(part) {
                return Err(format!("Invalid character(s) found in build meta data {part:?}"));
            }
        }
        Ok(Semver { numbers, pre: labels, build: build.unwrap_or_default().to_owned() })
    }
}

/// Without `v` and leading zeros, and with three numbers.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (core, suffix) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let mut numbers: Vec<&str> = core.split('.').collect();
    while numbers.len() < 3 {
        numbers.push("0");
    }
    let numbers: Vec<&str> = numbers
        .into_iter()
        .map(|number| match number.trim_start_matches('0') {
            "" if !number.is_empty() => "0",
            rest => rest,
        })
        .collect();
    format!("{}{suffix}", numbers.join("."))
}

impl Ord for Semver {
    fn cmp(&self, other: &Semver) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.pre.cmp(&other.pre),
        })
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Semver) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (i, part) in self.pre.iter().enumerate() {
            f.write_str(if i == 0 { "-" } else { "." })?;
            match part {
                Part::Number(number) => write!(f, "{number}")?,
                Part::Text(text) => f.write_str(text)?,
            }
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}
