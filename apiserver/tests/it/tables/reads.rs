//! What reads answer to every combination of resource version, match, limit and initial events (T20), and that pages are
//! one snapshot whatever is written meanwhile (T21).

use crate::{Api, User, config_map, names};
use axum::body::Body;
use http::Method;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    Unset,
    Zero,
    Current,
    Old,
    Garbage,
    Negative,
    LeadingZero,
    Past63,
    Past64,
}

const VERSIONS: [Version; 9] = [
    Version::Unset,
    Version::Zero,
    Version::Current,
    Version::Old,
    Version::Garbage,
    Version::Negative,
    Version::LeadingZero,
    Version::Past63,
    Version::Past64,
];
const MATCHES: [Option<&str>; 4] = [None, Some("Exact"), Some("NotOlderThan"), Some("Sometimes")];
const INITIAL: [Option<bool>; 3] = [None, Some(true), Some(false)];

impl Version {
    fn text(self, old: &str, current: &str) -> Option<String> {
        Some(match self {
            Version::Unset => return None,
            Version::Zero => "0".to_owned(),
            Version::Current => current.to_owned(),
            Version::Old => old.to_owned(),
            Version::Garbage => "abc".to_owned(),
            Version::Negative => "-1".to_owned(),
            Version::LeadingZero => format!("0{current}"),
            Version::Past63 => (1u128 << 63).to_string(),
            Version::Past64 => (1u128 << 64).to_string(),
        })
    }

    /// No number of 64 bits.
    fn unreadable(self) -> bool {
        matches!(self, Version::Garbage | Version::Negative | Version::Past64)
    }
}

/// The codes of a list. The rules on options come before the version is read.
fn list_code(version: Version, matching: Option<&str>, initial: Option<bool>) -> &'static [u16] {
    let refused = match matching {
        Some("Exact") => matches!(version, Version::Unset | Version::Zero),
        Some("NotOlderThan") => version == Version::Unset,
        Some(_) => true,
        None => false,
    };
    if refused || initial.is_some() {
        return &[422];
    }
    match version {
        _ if version.unreadable() => &[400],
        // A version that is far in the future is waited for, in vain.
        Version::Past63 => &[400, 504],
        _ => &[200],
    }
}

fn watch_code(version: Version, matching: Option<&str>, initial: Option<bool>) -> &'static [u16] {
    let refused = match (matching, initial) {
        (None, None) => false,
        (Some("NotOlderThan"), Some(_)) => false,
        (_, _) => true,
    };
    match version {
        _ if refused => &[422],
        _ if version.unreadable() => &[400],
        Version::Past63 => &[200, 400, 504],
        _ => &[200],
    }
}

/// The code and the reason of an answer whose stream need not end.
async fn head(user: &User<'_>, path: &str) -> (u16, Value) {
    let response = user.send(Method::GET, path, "application/json", Body::empty()).await;
    let code = response.status().as_u16();
    if code == 200 && path.contains("watch=") {
        return (code, Value::Null);
    }
    crate::answer_of(response).await
}

#[tokio::test(start_paused = true)]
async fn t20_every_combination_of_read_options_is_answered_by_the_rules() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (_, first) = acme.post(MAPS, config_map("a")).await;
    let (_, second) = acme.post(MAPS, config_map("b")).await;
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let (old, current) = (version(&first), version(&second));
    let mut asked = 0;
    for version in VERSIONS {
        for matching in MATCHES {
            for initial in INITIAL {
                for limit in [None, Some(1)] {
                    for watch in [false, true] {
                        let mut query = Vec::new();
                        query.extend(version.text(&old, &current).map(|text| format!("resourceVersion={text}")));
                        query.extend(matching.map(|text| format!("resourceVersionMatch={text}")));
                        query.extend(
                            initial.map(|initial| format!("sendInitialEvents={initial}&allowWatchBookmarks=true")),
                        );
                        query.extend(limit.map(|limit| format!("limit={limit}")));
                        query.extend(watch.then(|| "watch=1&timeoutSeconds=1".to_owned()));
                        let path = format!("{MAPS}?{}", query.join("&"));
                        let (code, answer) = head(&acme, &path).await;
                        let expected = if watch {
                            watch_code(version, matching, initial)
                        } else {
                            list_code(version, matching, initial)
                        };
                        assert!(expected.contains(&code), "{path}: {code} instead of {expected:?}: {answer}");
                        if code >= 400 {
                            assert_eq!(
                                (&answer["kind"], &answer["code"]),
                                (&json!("Status"), &json!(code)),
                                "{path}: {answer}"
                            );
                        } else if !watch {
                            let exact = matching == Some("Exact")
                                || (limit.is_some() && version == Version::Old && matching.is_none());
                            let seen: &[&str] = match (version, limit) {
                                (Version::Old, None) if exact => &["a"],
                                (_, Some(_)) => &["a"],
                                _ => &["a", "b"],
                            };
                            // What any version will do for may be read at once, whatever the limit.
                            if version == Version::Zero && limit.is_some() {
                                assert_eq!(names(&answer)[0], "a", "{path}");
                            } else {
                                assert_eq!(names(&answer), seen, "{path}");
                            }
                        }
                        asked += 1;
                    }
                }
            }
        }
    }
    for version in VERSIONS {
        let query = version.text(&old, &current).map(|text| format!("?resourceVersion={text}")).unwrap_or_default();
        let (code, answer) = acme.get(&format!("{MAPS}/a{query}")).await;
        let expected: &[u16] = match version {
            _ if version.unreadable() => &[400],
            Version::Past63 => &[400, 504],
            _ => &[200],
        };
        assert!(expected.contains(&code), "get {query}: {code}: {answer}");
        asked += 1;
    }
    assert!(asked > 300, "{asked} combinations");
}

#[tokio::test]
async fn t21_pages_are_one_snapshot_whatever_is_written_meanwhile() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for number in 0..20 {
        assert_eq!(acme.post(MAPS, config_map(&format!("m{number:02}"))).await.0, 201);
    }
    let rounds = if std::env::var_os("URSA_TEST_FULL").is_some() { 1000 } else { 30 };
    for round in 0..rounds {
        let (_, exact) = acme.get(MAPS).await;
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let (code, page) = acme.get(&format!("{MAPS}?limit=3&continue={next}")).await;
            assert_eq!(code, 200, "{page}");
            seen.extend(names(&page).into_iter().map(str::to_owned));
            // One goes, one comes, one changes between any two pages.
            let (gone, new) = (format!("m{:02}", (round * 7 + seen.len()) % 20), format!("n{round}-{}", seen.len()));
            acme.delete(&format!("{MAPS}/{gone}"), json!({})).await;
            acme.post(MAPS, config_map(&new)).await;
            acme.post(MAPS, config_map(&gone)).await;
            acme.delete(&format!("{MAPS}/{new}"), json!({})).await;
            next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if next.is_empty() {
                break;
            }
        }
        assert_eq!(seen, names(&exact), "round {round}");
    }
}
