//! Kubeconfig files for stock clients.

use crate::pki::Credential;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt;

/// How the user of a kubeconfig proves who it is.
#[derive(Clone)]
pub enum KubeAuth {
    Certificate(Credential),
    Token(String),
}

impl fmt::Debug for KubeAuth {
    /// Without keys and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KubeAuth::Certificate(credential) => f.debug_tuple("Certificate").field(credential).finish(),
            KubeAuth::Token(_) => f.write_str("Token(..)"),
        }
    }
}

/// A kubeconfig with one cluster, one user and one context, for a stock `kubectl`. `server_url` may end in
/// `/tenants/acme`, which makes the tenant look like a whole cluster. The context also names the cluster.
pub fn kubeconfig(server_url: &str, ca_pem: &str, user: &str, auth: &KubeAuth, context: &str) -> String {
    let (context, server, user) = (quoted(context), quoted(server_url), quoted(user));
    let ca = BASE64_STANDARD.encode(ca_pem);
    let proof = match auth {
        KubeAuth::Certificate(Credential { cert_pem, key_pem }) => {
            let (cert, key) = (BASE64_STANDARD.encode(cert_pem), BASE64_STANDARD.encode(key_pem));
            format!("client-certificate-data: {cert}\n    client-key-data: {key}")
        }
        KubeAuth::Token(token) => format!("token: {}", quoted(token)),
    };
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {context}\nclusters:\n- name: {context}\n  cluster:\n    \
         server: {server}\n    certificate-authority-data: {ca}\ncontexts:\n- name: {context}\n  context:\n    \
         cluster: {context}\n    user: {user}\nusers:\n- name: {user}\n  user:\n    {proof}\n"
    )
}

/// A JSON string, which YAML reads as the same text.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_holds_one_context() {
        let credential = Credential { cert_pem: "C".to_owned(), key_pem: "K".to_owned() };
        let url = "https://127.0.0.1:6443/tenants/acme";
        let text = kubeconfig(url, "CA", "system:node:\"a\"", &KubeAuth::Certificate(credential), "acme");
        let expected = r#"apiVersion: v1
kind: Config
current-context: "acme"
clusters:
- name: "acme"
  cluster:
    server: "https://127.0.0.1:6443/tenants/acme"
    certificate-authority-data: Q0E=
contexts:
- name: "acme"
  context:
    cluster: "acme"
    user: "system:node:\"a\""
users:
- name: "system:node:\"a\""
  user:
    client-certificate-data: Qw==
    client-key-data: Sw==
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_token_stands_quoted_and_is_never_logged() {
        let auth = KubeAuth::Token("a: b".to_owned());
        assert!(kubeconfig("https://h", "CA", "u", &auth, "c").ends_with("    token: \"a: b\"\n"));
        assert!(!format!("{auth:?}").contains("a: b"));
    }
}
