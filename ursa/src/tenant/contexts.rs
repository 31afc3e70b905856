//! The contexts of tenants in a kubeconfig file: one for each tenant and user, beside whatever else the file holds.
//!
//! A file is read, changed and put in place in one step, readable by its owner alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use policy::pki::Credential;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The user that a tenant's first role is bound to.
pub const ADMIN: &str = "admin";

/// A tenant and a user of it.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub tenant: &'a str,
    pub user: &'a str,
}

impl Context<'_> {
    /// `acme` for its administrator, `jane@acme` for others.
    pub fn name(&self) -> String {
        if self.user == ADMIN { self.tenant.to_owned() } else { format!("{}@{}", self.user, self.tenant) }
    }
}

/// A kubeconfig file, whatever it holds.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    content: Value,
}

impl File {
    /// Reads a file; one that is not there is empty.
    pub fn read(path: &Path) -> Result<File, String> {
        let content = match fs::read(path) {
            Ok(bytes) if !bytes.is_empty() => apiserver::read_yaml(&bytes)
                .map_err(|why| format!("the kubeconfig {} is not as it should be: {why}", path.display()))?,
            Ok(_) => json!({}),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({}),
            Err(error) => return Err(format!("the kubeconfig {} cannot be read: {error}", path.display())),
        };
        if !content.is_object() {
            return Err(format!("the kubeconfig {} holds no object", path.display()));
        }
        Ok(File { path: path.to_owned(), content })
    }

    pub fn has(&self, context: Context<'_>) -> bool {
        self.named("contexts", &context.name()).is_some()
    }

    /// The name of a context of the operators of the server that the current context belongs to. The current one, unless
    /// it is a tenant's.
    pub fn operators_context(&self) -> Option<String> {
        let current = self.content["current-context"].as_str()?;
        let server = self.server_of(current)?;
        let Some((root, _)) = server.split_once("/tenants/") else { return Some(current.to_owned()) };
        let contexts = self.content["contexts"].as_array().into_iter().flatten();
        let mut names = contexts.filter_map(|context| context["name"].as_str());
        names.find(|name| self.server_of(name).is_some_and(|s| s.trim_end_matches('/') == root)).map(str::to_owned)
    }

    fn server_of(&self, context: &str) -> Option<&str> {
        let cluster = self.named("contexts", context)?["context"]["cluster"].as_str()?;
        self.named("clusters", cluster)?["cluster"]["server"].as_str()
    }

    fn named(&self, list: &str, name: &str) -> Option<&Value> {
        self.content[list].as_array()?.iter().find(|entry| entry["name"] == name)
    }

    /// Adds or replaces the context of a user, with its cluster and its credential.
    pub fn set(&mut self, context: Context<'_>, server: &str, ca_pem: &str, credential: &Credential) {
        let (name, user) = (context.name(), format!("{}@{}", context.user, context.tenant));
        let cluster = json!({"server": server, "certificate-authority-data": STANDARD.encode(ca_pem)});
        let proof = json!({"client-certificate-data": STANDARD.encode(&credential.cert_pem),
            "client-key-data": STANDARD.encode(&credential.key_pem)});
        self.put("clusters", context.tenant, "cluster", cluster);
        self.put("users", &user, "user", proof);
        let place = json!({"cluster": context.tenant, "user": user, "tenant": context.tenant});
        self.put("contexts", &name, "context", place);
        for (field, value) in [("apiVersion", "v1"), ("kind", "Config")] {
            self.content[field] = json!(value);
        }
        if self.content["current-context"].as_str().unwrap_or_default().is_empty() {
            self.content["current-context"] = json!(name);
        }
    }

    /// Makes a context the current one.
    pub fn choose(&mut self, context: Context<'_>) {
        self.content["current-context"] = json!(context.name());
    }

    /// Takes out what belongs to a tenant of a server, and returns whether there was anything.
    pub fn forget(&mut self, tenant: &str, server: &str) -> bool {
        if self.named("clusters", tenant).is_none_or(|cluster| cluster["cluster"]["server"] != server) {
            return false;
        }
        let operators = self.operators_context();
        let mut contexts = Vec::new();
        let mut users = Vec::new();
        for entry in self.content["contexts"].as_array().into_iter().flatten() {
            if entry["context"]["cluster"] == tenant {
                contexts.push(entry["name"].clone());
                users.push(entry["context"]["user"].clone());
            }
        }
        let mut drop_from = |list: &str, gone: &[Value]| {
            if let Some(entries) = self.content[list].as_array_mut() {
                entries.retain(|entry| !gone.contains(&entry["name"]));
            }
        };
        drop_from("contexts", &contexts);
        drop_from("users", &users);
        drop_from("clusters", &[json!(tenant)]);
        if contexts.contains(&self.content["current-context"]) {
            self.content["current-context"] = json!(operators.unwrap_or_default());
        }
        true
    }

    fn put(&mut self, list: &str, name: &str, field: &str, value: Value) {
        if !self.content[list].is_array() {
            self.content[list] = json!([]);
        }
        let Some(entries) = self.content[list].as_array_mut() else { return };
        entries.retain(|entry| entry["name"] != name);
        entries.push(json!({"name": name, field: value}));
    }

    /// Puts the file in place.
    pub fn write(&self) -> Result<(), String> {
        let path = self.path.display();
        let new = self.path.with_extension("new");
        let written = (|| {
            if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                fs::create_dir_all(folder)?;
            }
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(yaml(&self.content).as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        })();
        written.map_err(|error| format!("the kubeconfig {path} cannot be written: {error}"))
    }
}

/// YAML that every reader takes: blocks, with texts as JSON has them.
fn yaml(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                out.push_str(&format!("{pad}{}:", json!(name)));
                nested(field, indent + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut text = String::new();
                block(item, indent + 2, &mut text);
                out.push_str(&format!("{pad}- {}", &text[(indent + 2).min(text.len())..]));
            }
        }
        other => out.push_str(&format!("{pad}{other}\n")),
    }
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    let is_block = value.as_object().is_some_and(|o| !o.is_empty()) || value.as_array().is_some_and(|a| !a.is_empty());
    if is_block {
        out.push('\n');
        block(value, indent, out);
    } else {
        out.push_str(&format!(" {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Credential {
        Credential { cert_pem: "C".to_owned(), key_pem: "K".to_owned() }
    }

    #[test]
    fn contexts_come_beside_what_is_there_and_go_with_their_tenant() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        let before = "apiVersion: v1\nkind: Config\npreferences: {colors: true}\ncurrent-context: root\n\
            clusters: [{name: main, cluster: {server: 'https://h:1'}}]\nusers: [{name: root, user: {token: t}}]\n\
            contexts: [{name: root, context: {cluster: main, user: root}}]\n";
        fs::write(&path, before).expect("a file");
        let mut file = File::read(&path).expect("a kubeconfig");
        let (admin, jane) = (Context { tenant: "acme", user: ADMIN }, Context { tenant: "acme", user: "jane" });
        file.set(admin, "https://h:1/tenants/acme", "CA", &credential());
        file.set(jane, "https://h:1/tenants/acme", "CA", &credential());
        file.choose(jane);
        file.write().expect("written");

        let mut file = File::read(&path).expect("a kubeconfig");
        assert!(file.has(admin) && file.has(jane));
        assert_eq!(file.content["current-context"], "jane@acme");
        assert_eq!(file.content["preferences"]["colors"], true);
        assert_eq!(file.operators_context().as_deref(), Some("root"));
        assert!(client::Kubeconfig::read(&path).is_ok_and(|config| config.server == "https://h:1/tenants/acme"));
        assert!(!file.forget("acme", "https://other/tenants/acme"));
        assert!(file.forget("acme", "https://h:1/tenants/acme"));
        assert!(!file.has(admin) && !file.has(jane));
        assert_eq!(file.content["current-context"], "root");
        assert_eq!(file.content["clusters"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_file_that_is_not_there_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/config");
        let mut file = File::read(&path).expect("nothing yet");
        file.set(Context { tenant: "acme", user: ADMIN }, "https://h/tenants/acme", "CA", &credential());
        file.write().expect("written");
        assert!(client::Kubeconfig::read(&path).is_ok());
    }
}
