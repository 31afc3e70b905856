//! The query of a request, decoded.

use api::{Error, Result};

/// Names and values in their order; a name may come more than once.
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Result<Query> {
        let pairs = text.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Query(pairs.collect::<Result<_>>()?))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether any of the names is set to yes. A name without a value is a yes.
    pub fn flag(&self, names: &[&str]) -> Result<bool> {
        let mut is_set = false;
        for (name, value) in self.0.iter().filter(|(name, _)| names.contains(&name.as_str())) {
            is_set |= match value.as_str() {
                "" | "1" | "t" | "T" | "true" | "True" | "TRUE" => true,
                "0" | "f" | "F" | "false" | "False" | "FALSE" => false,
                other => return Err(Error::bad_request(format!("{name}: {other:?} is neither true nor false"))),
            };
        }
        Ok(is_set)
    }
}

fn decode(text: &str) -> Result<String> {
    let bad = || Error::bad_request(format!("{text:?} is not a valid query"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = after.get(..2).filter(|d| d.iter().all(u8::is_ascii_hexdigit)).ok_or_else(bad)?;
                let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
                rest = &after[2..];
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_its_words() {
        let query = Query::parse("command=sh&command=-c&command=echo+%22a%26b%22&stdin").expect("a query");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo \"a&b\""]);
        assert!(query.flag(&["stdin", "input"]).expect("a flag") && !query.flag(&["tty"]).expect("a flag"));
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        for bad in ["a=%", "a=%2", "a=%zz", "a=%ff", "a=%+1"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
