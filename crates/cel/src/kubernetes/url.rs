//! URLs as Go's `ParseRequestURI` reads them: absolute, or an absolute path.

use std::collections::BTreeMap;

/// The parts of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub source: String,
    pub scheme: String,
    pub host: String,
    path: String,
    query: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Url, String> {
        Url::read(text).map_err(|why| format!("parse {text:?}: {why}"))
    }

    fn read(text: &str) -> Result<Url, String> {
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err("net/url: invalid control character in URL".into());
        }
        if text.is_empty() {
            return Err("empty url".into());
        }
        let mut url = Url {
            source: text.to_owned(),
            scheme: String::new(),
            host: String::new(),
            path: String::new(),
            query: String::new(),
        };
        if text == "*" {
            url.path = "*".into();
            return Ok(url);
        }
        let (scheme, rest) = split_scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let (mut rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        url.query = query.to_owned();
        if !rest.starts_with('/') {
            return if scheme.is_empty() { Err("invalid URI for request".into()) } else { Ok(url) };
        }
        if !scheme.is_empty()
            && let Some(after) = rest.strip_prefix("//")
        {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            let host = match authority.rsplit_once('@') {
                Some((user, host)) => {
                    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
                    if !user.chars().all(allowed) {
                        return Err("net/url: invalid userinfo".into());
                    }
                    unescape(user)?;
                    host
                }
                None => authority,
            };
            url.host = read_host(host)?;
            rest = path;
        }
        unescape(rest)?;
        url.path = rest.to_owned();
        Ok(url)
    }

    pub(crate) fn hostname(&self) -> &str {
        match self.host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((inside, _)) => inside,
            None => self.host.rsplit_once(':').map_or(&self.host, |(host, _)| host),
        }
    }

    pub(crate) fn port(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => port,
            _ => "",
        }
    }

    /// The path with everything escaped that must be.
    pub(crate) fn escaped_path(&self) -> String {
        let kept = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&b);
        let valid = self.path.bytes().all(|b| kept(b) || b"!'()*[]%".contains(&b));
        if valid {
            return self.path.clone();
        }
        let bytes = unescape(&self.path).unwrap_or_default();
        let mut out = String::with_capacity(bytes.len());
        for byte in bytes {
            if kept(byte) { out.push(char::from(byte)) } else { out.push_str(&format!("%{byte:02X}")) }
        }
        out
    }

    /// The values of each key of the query.
    pub(crate) fn query(&self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let read = |text: &str| {
                let bytes = unescape(&text.replace('+', " ")).ok()?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            };
            if let (Some(key), Some(value)) = (read(key), read(value)) {
                found.entry(key).or_default().push(value);
            }
        }
        found
    }
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (i, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            ':' if i == 0 => return Err("missing protocol scheme".into()),
            ':' => return Ok((&text[..i], &text[i + 1..])),
            _ => return Ok(("", text)),
        }
    }
    Ok(("", text))
}

fn read_host(host: &str) -> Result<String, String> {
    let port = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        &host[end + 1..]
    } else {
        host.rfind(':').map_or("", |at| &host[at..])
    };
    let valid = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    if !valid {
        return Err(format!("invalid port {port:?} after host"));
    }
    let refused = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_.~!$&'()*+,;=:[]<>\"%".contains(c);
    if let Some(bad) = host.chars().find(|c| refused(*c)) {
        return Err(format!("invalid character {:?} in host name", bad.to_string()));
    }
    let bytes = unescape(host)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%' {
            let digits = text.get(i + 1..i + 3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            let Some(value) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
                let shown: String = text[i..].chars().take(3).collect();
                return Err(format!("invalid URL escape {shown:?}"));
            };
            out.push(value);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    Ok(out)
}
