//! A kubeconfig file, as far as a server and a user come from it.

use api::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a kubeconfig's current context says.
#[derive(Clone, Default)]
pub struct Kubeconfig {
    /// The server's address, with a path that is put in front of every request's.
    pub server: String,
    /// PEM.
    pub certificate_authority: Vec<u8>,
    /// The name to expect in the server's certificate instead of the address's.
    pub tls_server_name: Option<String>,
    /// Certificate and key, PEM.
    pub client_certificate: Option<(Vec<u8>, Vec<u8>)>,
    pub token: Option<String>,
}

impl fmt::Debug for Kubeconfig {
    /// Without its secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubeconfig").field("server", &self.server).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
}

impl Kubeconfig {
    /// Reads the current context of a file. Files that it names are taken relative to its own folder.
    pub fn read(path: &Path) -> Result<Kubeconfig> {
        Kubeconfig::read_context(path, None)
    }

    /// As [`Kubeconfig::read`], of the context of this name instead of the current one.
    pub fn read_context(path: &Path, context: Option<&str>) -> Result<Kubeconfig> {
        let file = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::bad_request(format!("the kubeconfig {file} cannot be read: {e}")))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Kubeconfig::parse(&text, context, folder)
            .map_err(|why| Error::bad_request(format!("the kubeconfig {file} {why}")))
    }

    /// The error ends the sentence "the kubeconfig F …".
    fn parse(text: &str, context: Option<&str>, folder: &Path) -> Result<Kubeconfig, String> {
        let file: File = serde_saphyr::from_str(text).map_err(|e| format!("is not as it should be: {e}"))?;
        let current = context.unwrap_or(&file.current_context);
        let context = file.contexts.into_iter().find(|c| c.name == current).map(|c| c.context);
        let context = context.ok_or_else(|| format!("has no context {current:?}, which is the one to take"))?;
        let cluster = file.clusters.into_iter().find(|c| c.name == context.cluster).map(|c| c.cluster);
        let cluster = cluster.ok_or_else(|| format!("has no cluster {:?}", context.cluster))?;
        let user = file.users.into_iter().find(|u| u.name == context.user).map(|u| u.user);
        let user = match user {
            Some(user) => user,
            None if context.user.is_empty() => User::default(),
            None => return Err(format!("has no user {:?}", context.user)),
        };
        if cluster.insecure_skip_tls_verify {
            return Err("wants a server that is not verified, which is refused".to_owned());
        }
        let authority = part(cluster.certificate_authority_data, cluster.certificate_authority, folder)?;
        let certificate = part(user.client_certificate_data, user.client_certificate, folder)?;
        let key = part(user.client_key_data, user.client_key, folder)?;
        let client_certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("has only one of client certificate and key".to_owned()),
        };
        let token = match (user.token, user.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => {
                let token = String::from_utf8(read(&folder.join(file))?);
                Some(token.map_err(|_| "names a token file that is no text")?.trim().to_owned())
            }
            (None, None) => None,
        };
        Ok(Kubeconfig {
            server: cluster.server,
            certificate_authority: authority.ok_or("names no certificate authority")?,
            tls_server_name: cluster.tls_server_name,
            client_certificate,
            token,
        })
    }
}

/// A part that is given as base64 in the file, or as a file of its own.
fn part(data: Option<String>, file: Option<PathBuf>, folder: &Path) -> Result<Option<Vec<u8>>, String> {
    match (data, file) {
        (Some(data), _) => STANDARD.decode(data.trim()).map(Some).map_err(|e| format!("holds bad base64: {e}")),
        (None, Some(file)) => read(&folder.join(file)).map(Some),
        (None, None) => Ok(None),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("names {}, which cannot be read: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
apiVersion: v1
kind: Config
current-context: acme
contexts:
- {name: other, context: {cluster: none, user: none}}
- {name: acme, context: {cluster: ursa, user: alice, namespace: default}}
clusters:
- name: ursa
  cluster: {server: "https://127.0.0.1:6443/tenants/acme", certificate-authority-data: Q0E=}
users:
- name: alice
  user: {client-certificate: alice.crt, client-key-data: S0VZ, token: t}
"#;

    #[test]
    fn the_current_context_says_which_server_and_user() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("alice.crt"), "CERT").expect("a file");
        let path = folder.path().join("config");
        std::fs::write(&path, CONFIG).expect("a file");
        let config = Kubeconfig::read(&path).expect("a kubeconfig");
        assert_eq!(config.server, "https://127.0.0.1:6443/tenants/acme");
        assert_eq!(config.certificate_authority, b"CA");
        assert_eq!(config.client_certificate, Some((b"CERT".to_vec(), b"KEY".to_vec())));
        assert_eq!(config.token.as_deref(), Some("t"));
        assert!(!format!("{config:?}").contains("KEY"));
    }

    #[track_caller]
    fn refused(config: &str, why: &str) {
        let error = Kubeconfig::parse(config, None, Path::new("/nowhere")).expect_err("a refusal");
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        refused("[", "is not as it should be");
        refused(&CONFIG.replace("current-context: acme", "current-context: x"), r#"has no context "x""#);
        refused(&CONFIG.replace("cluster: ursa", "cluster: y"), r#"has no cluster "y""#);
        refused(&CONFIG.replace("user: alice", "user: bob"), r#"has no user "bob""#);
        refused(CONFIG, "names /nowhere/alice.crt, which cannot be read");
        refused(&CONFIG.replace("client-certificate: alice.crt, ", ""), "only one of client certificate and key");
        refused(&CONFIG.replace("Q0E=", "'?'"), "holds bad base64");
    }

    #[test]
    fn damaged_kubeconfigs_are_read_or_refused() {
        fuzz::fuzz(&[CONFIG], |bytes| {
            let _ = Kubeconfig::parse(&String::from_utf8_lossy(bytes), None, Path::new("/nowhere"));
        });
    }
}
