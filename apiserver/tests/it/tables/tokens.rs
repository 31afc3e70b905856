//! Continue tokens that no list gave (T22): they are refused, or go on in what their request covers, and show nothing else.

use crate::{Api, User, config_map, names};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

const ROUNDS: usize = 10_000;

/// A token with something wrong.
fn mutated(token: &str, rng: &mut SmallRng) -> String {
    let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(token).expect("a token");
    let at = rng.random_range(0..bytes.len());
    match rng.random_range(0..8) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes.truncate(at),
        2 => bytes = bytes.repeat(rng.random_range(2..40)),
        3 => drop(bytes.splice(at..at, *b"../")),
        4 => {
            let starts = [
                "../../umbrella/default/a",
                "umbrella/default/a",
                "default/a",
                "/",
                "",
                "a\0b",
                "\u{0}",
                "%2e%2e",
                "A/../B",
            ];
            let versions = [0, -1, -2, 1, 7, i64::MAX, i64::MIN];
            let of = |n: usize, rng: &mut SmallRng| rng.random_range(0..n);
            let (start, rv) = (starts[of(starts.len(), rng)], versions[of(versions.len(), rng)]);
            bytes = json!({"v": "meta.k8s.io/v1", "rv": rv, "start": start}).to_string().into_bytes();
        }
        5 => return base64::prelude::BASE64_STANDARD.encode(&bytes).replace('+', "%2B"),
        6 => return format!("{token}{}", "=".repeat(rng.random_range(1..4))),
        _ => {
            let mut text = token.to_owned();
            text.replace_range(at..=at, ["~", "%00", "é", "-", ""][rng.random_range(0..5)]);
            return text;
        }
    }
    BASE64_URL_SAFE_NO_PAD.encode(&bytes)
}

async fn fill(user: &User<'_>, word: &str) {
    for name in ["a", "b", "c"] {
        let mut map = config_map(&format!("{word}-{name}"));
        map["metadata"]["labels"] = json!({"of": word});
        assert_eq!(user.post(MAPS, map).await.0, 201);
    }
}

#[tokio::test]
async fn a_token_that_no_list_gave_is_refused_or_shows_what_its_request_covers() {
    let api = Api::start().await;
    let (acme, umbrella) = (api.tenant("acme").await, api.tenant("umbrella").await);
    fill(&acme, "acme").await;
    fill(&umbrella, "umbrella").await;
    let (_, page) = acme.get(&format!("{MAPS}?limit=1")).await;
    let token = page["metadata"]["continue"].as_str().expect("a token").to_owned();
    // From here on nothing is written: a wait for what never comes takes no time.
    tokio::time::pause();
    let mut rng = SmallRng::seed_from_u64(22);
    let places = [
        format!("{MAPS}?limit=2"),
        format!("{MAPS}?labelSelector=of%3Dacme"),
        "/api/v1/configmaps?limit=1".to_owned(),
        "/api/v1/namespaces/other/configmaps?limit=2".to_owned(),
        "/api/v1/namespaces/default/secrets?limit=2".to_owned(),
        "/api/v1/namespaces?limit=2".to_owned(),
    ];
    let mut refused = 0;
    for round in 0..ROUNDS {
        let bad = mutated(&token, &mut rng);
        let (user, own, foreign) =
            if round % 2 == 0 { (&acme, "acme", "umbrella-") } else { (&umbrella, "umbrella", "acme-") };
        let place = &places[rng.random_range(0..places.len())];
        let (code, answer) = user.get(&format!("{place}&continue={bad}")).await;
        // As upstream, a version that is yet to come is waited for, in vain.
        assert!(matches!(code, 200 | 400 | 410 | 504), "{own} {place} {bad}: {code} {answer}");
        assert!(names(&answer).iter().all(|name| !name.starts_with(foreign)), "{own} {place} {bad}: {answer}");
        refused += usize::from(code != 200);
    }
    assert!(refused > ROUNDS / 2, "{refused} refused");
}
