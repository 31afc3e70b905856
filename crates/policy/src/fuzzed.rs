//! What people prove themselves with, and what operators write about that, damaged.

use crate::audit::Policy;
use crate::authn::{TokenFile, identity_of_certificate};
use crate::pki::{check_certificates, names_masters, requested};

#[test]
fn damaged_token_files_are_read_or_refused() {
    fuzz::fuzz(&["t0ken,jane,uid,\"a,b\",acme\n# a comment\nother,joe,,,\n"], |bytes| {
        let _ = TokenFile::parse(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn damaged_certificates_and_requests_are_refused() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["a.example.com".to_owned()]).expect("parameters");
    let request = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    let certificate = params.self_signed(&key).expect("a certificate");
    fuzz::fuzz(&[request], |bytes| {
        let _ = (names_masters(bytes), requested(&String::from_utf8_lossy(bytes)));
    });
    fuzz::fuzz(&[certificate.der()], |bytes| {
        let _ = identity_of_certificate(bytes);
    });
    fuzz::fuzz(&[certificate.pem()], |bytes| {
        let _ = check_certificates(bytes);
    });
}

#[test]
fn damaged_audit_policies_are_read_or_refused() {
    let policy = r#"{"omitStages":["RequestReceived"],"rules":[{"level":"Metadata","users":["a"],"verbs":["get"],
        "resources":[{"group":"","resources":["pods/*"]}],"nonResourceURLs":["/api*"]}]}"#;
    fuzz::fuzz(&[policy], |bytes| {
        if let Ok(policy) = serde_json::from_slice(bytes) {
            let _ = Policy::from_value(&policy);
        }
    });
}
