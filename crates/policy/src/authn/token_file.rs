//! Static tokens from a CSV file: `token,user,uid[,"group,group"[,…]],,tenant`.
//!
//! The last column is the tenant where the one before it is empty, by its name or as `name@uid`. Without a tenant a line is
//! no identity.
//! Invariant: tokens are kept and looked up as SHA-256 only, so that neither memory nor timing tells one.

use api::{Identity, TenantName};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

type TokenHash = [u8; 32];

/// Identities by the hash of their token.
#[derive(Default)]
pub struct TokenFile {
    entries: HashMap<TokenHash, Entry>,
}

struct Entry {
    identity: Identity,
    /// The uid of its tenant: what the line says behind an `@`, or else whose the tenant was when it was first seen.
    tenant_uid: OnceLock<String>,
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenFile({} tokens)", self.entries.len())
    }
}

impl TokenFile {
    /// Reads the file. The second part of the result are warnings for the log: lines without token or tenant, and
    /// tokens that a later line gives to somebody else. None of the texts holds a token.
    pub fn parse(csv: &str) -> Result<(TokenFile, Vec<String>), String> {
        let (mut file, mut warnings) = (TokenFile::default(), Vec::new());
        for (line, record) in records(csv)? {
            let [token, user, uid, more @ ..] = record.as_slice() else {
                return Err(format!("line {line}: expected at least token, user and uid"));
            };
            if token.is_empty() {
                warnings.push(format!("line {line}: skipped, the token is empty"));
                continue;
            }
            if user.is_empty() {
                return Err(format!("line {line}: the user is empty"));
            }
            let (groups, tenant) = match more {
                [groups, .., empty, last] if empty.is_empty() => (groups.as_str(), last),
                [empty, last] if empty.is_empty() => ("", last),
                _ => {
                    warnings.push(format!("line {line}: skipped, user {user:?} has no tenant"));
                    continue;
                }
            };
            let (tenant, tenant_uid) =
                tenant.split_once('@').map_or((&**tenant, None), |(name, uid)| (name, Some(uid)));
            let tenant = TenantName::new(tenant).map_err(|e| format!("line {line}: {}", e.message()))?;
            let groups: Vec<&str> = groups.split(',').map(str::trim).filter(|g| !g.is_empty()).collect();
            let identity = Identity { uid: uid.clone(), ..Identity::new(tenant, user, &groups) };
            let tenant_uid = tenant_uid.map_or_else(OnceLock::new, |uid| OnceLock::from(uid.to_owned()));
            if file.entries.insert(hash(token), Entry { identity, tenant_uid }).is_some() {
                warnings.push(format!("line {line}: this token of user {user:?} replaces an earlier one"));
            }
        }
        Ok((file, warnings))
    }

    /// Whom a token names, whether or not its tenant still is the one that it was for.
    pub fn find(&self, token: &str) -> Option<Identity> {
        Some(self.entries.get(&hash(token))?.identity.clone())
    }

    /// Whom a token names in a tenant that is there, and is the one that the token was for when it was first seen.
    /// `uid_of` gives a tenant's uid.
    pub fn find_in(&self, token: &str, uid_of: impl Fn(&TenantName) -> Option<String>) -> Option<Identity> {
        let entry = self.entries.get(&hash(token))?;
        entry.is_of(uid_of(&entry.identity.tenant)).then(|| entry.identity.clone())
    }

    /// Binds every token to its tenant as it is, where that is there.
    pub fn bind(&self, uid_of: impl Fn(&TenantName) -> Option<String>) {
        for entry in self.entries.values() {
            entry.is_of(uid_of(&entry.identity.tenant));
        }
    }
}

impl Entry {
    fn is_of(&self, tenant_uid: Option<String>) -> bool {
        tenant_uid.is_none_or(|uid| *self.tenant_uid.get_or_init(|| uid.clone()) == uid)
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// The records of a CSV text, each with the number of the line it starts on. Fields may be quoted, with quotes inside
/// doubled; empty lines are left out.
fn records(csv: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut records = Vec::new();
    let (mut line, mut start) = (1, 1);
    let mut record = vec![String::new()];
    let mut chars = csv.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if field_is_empty(&record) => {
                line += quoted(&mut chars, &mut record).ok_or_else(|| format!("line {line}: a quote is not closed"))?;
                if !matches!(chars.peek(), None | Some(',' | '\n' | '\r')) {
                    return Err(format!("line {line}: text after a closing quote"));
                }
            }
            '"' => return Err(format!("line {line}: a quote inside a field")),
            ',' => record.push(String::new()),
            '\r' if matches!(chars.peek(), None | Some('\n')) => {}
            '\n' => {
                records.push((start, std::mem::replace(&mut record, vec![String::new()])));
                line += 1;
                start = line;
            }
            other => record.last_mut().expect("a record has a field").push(other),
        }
    }
    records.push((start, record));
    records.retain(|(_, record)| record.len() > 1 || !record[0].is_empty());
    Ok(records)
}

fn field_is_empty(record: &[String]) -> bool {
    record.last().is_some_and(String::is_empty)
}

/// Reads a quoted field up to its closing quote into the last field; returns how many lines it spans, or `None` when
/// the text ends first.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars>, record: &mut [String]) -> Option<usize> {
    let field = record.last_mut()?;
    let mut lines = 0;
    loop {
        match chars.next()? {
            '"' if chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => return Some(lines),
            c => {
                lines += usize::from(c == '\n');
                field.push(c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(csv: &str) -> (TokenFile, Vec<String>) {
        TokenFile::parse(csv).unwrap_or_else(|why| panic!("{csv:?}: {why}"))
    }

    #[track_caller]
    fn check(csv: &str, token: &str, expected: Option<(&str, &str, &[&str])>) {
        let found = parse(csv).0.find(token);
        let expected = expected
            .map(|(tenant, user, groups)| Identity::new(TenantName::new(tenant).expect("a tenant"), user, groups));
        let found = found.map(|identity| Identity { uid: String::new(), ..identity });
        assert_eq!(found, expected, "{csv:?}");
    }

    #[test]
    fn the_tenant_is_the_last_column_after_an_empty_one() {
        check("tok,bob,u1,,t1", "tok", Some(("t1", "bob", &[])));
        check("tok,bob,u1,\"g1,g2\",,t1\n", "tok", Some(("t1", "bob", &["g1", "g2"])));
        check("tok,bob,u1,\"g1\",,t1\r\n\r\nother,eve,u2,,t2", "other", Some(("t2", "eve", &[])));
        check("\"to,\"\"k\",bob,,,t1", "to,\"k", Some(("t1", "bob", &[])));
        check("a,admin,uid-a,\"system:masters\",,system", "a", Some(("system", "admin", &["system:masters"])));
    }

    #[test]
    fn a_token_is_for_the_tenant_that_it_was_first_seen_with() {
        let (file, _) = parse("a,bob,u,,t1\nb,eve,v,,t1@second\n");
        let with = |token: &str, uid: Option<&str>| file.find_in(token, |_| uid.map(str::to_owned)).is_some();
        assert!(with("a", None), "of a tenant that is not there yet, nothing is known");
        assert!(with("a", Some("first")) && !with("b", Some("first")));
        assert!(!with("a", Some("second")) && with("b", Some("second")));
        assert!(with("a", Some("first")));
        let (file, _) = parse("a,bob,u,,t1\n");
        file.bind(|tenant| (tenant.as_str() == "t1").then(|| "first".to_owned()));
        assert!(file.find_in("a", |_| Some("second".to_owned())).is_none());
    }

    #[test]
    fn a_line_without_tenant_is_nobody() {
        for csv in ["tok,bob,u1", "tok,bob,u1,g1", "tok,bob,u1,\"g1,g2\"", "tok,bob,u1,g1,t1", "tok,bob,,t1"] {
            check(csv, "tok", None);
            assert_eq!(parse(csv).1, [r#"line 1: skipped, user "bob" has no tenant"#], "{csv:?}");
        }
    }

    #[test]
    fn an_empty_token_opens_nothing_and_the_last_of_two_wins() {
        let (file, warnings) = parse(",bob,u,,t1\nx,bob,u,,t1\nx,eve,v,,t2\n");
        assert_eq!(file.find(""), None);
        assert_eq!(file.find("x").map(|i| i.user), Some("eve".to_owned()));
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn a_broken_file_is_refused_with_its_line() {
        for (csv, line) in [
            ("a,b", "line 1"),
            ("a,b,c,,t1\nx,y", "line 2"),
            ("a,b,c,,", "line 1"),
            ("a,b,c,g,,", "line 1"),
            ("a,,c,,t1", "line 1"),
            ("a,b,c,,All", "line 1"),
            ("a,b,c,,all", "line 1"),
            ("\"a,b,c", "line 1"),
            ("a,b,\"c\"d,,t1", "line 1"),
            ("a,b\"c,d,,t1", "line 1"),
        ] {
            let why = TokenFile::parse(csv).expect_err(csv);
            assert!(why.starts_with(line), "{csv:?}: {why}");
        }
    }
}
